"""What was studied once and is written down in docs/: coverage, warnings, and the figures of other libraries."""
