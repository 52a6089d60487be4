"""What is said to Redis: the state of the join, published policies."""
