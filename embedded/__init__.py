"""A real Kafka and a real Redis on this machine, from Python packages alone."""
