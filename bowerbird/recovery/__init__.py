"""What Redis has forgotten is computed again from the logs: the join's state, the policies, the archive's place."""
