"""Whether a log can support an evaluation: statistics, checks for faults, the verdict."""
