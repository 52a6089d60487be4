"""Whether a log can tell what is asked of it: statistics, planted faults, the verdict."""
