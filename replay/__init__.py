"""Compute the past again from the log: rewards, versions, decisions, and what another policy is worth."""
