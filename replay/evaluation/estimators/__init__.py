"""What another policy would have been worth on a log: a class per estimator, each with its paper and equation."""
