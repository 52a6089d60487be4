"""What a service does now, read from Kafka and Redis alone, and what is wrong with it."""
