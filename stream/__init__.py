"""The loop on Kafka and Redis: the only package that imports Faust."""
