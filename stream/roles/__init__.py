"""The roles: one consumer group and one process each."""
