"""Recompute the outcomes, the weights and any decision from the log."""
