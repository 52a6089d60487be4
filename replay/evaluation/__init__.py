"""Estimate from a log what another policy would have been worth."""
