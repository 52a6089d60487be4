"""What is said to Kafka: consumers, the log, topics, dead letters, the broker's clock."""
