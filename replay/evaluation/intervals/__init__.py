"""Intervals for a value, for a difference, and for all times at once."""
