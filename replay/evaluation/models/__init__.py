"""Reward models q(x, a): what an action would earn, learned from a log without a row's reward in its own prediction."""
