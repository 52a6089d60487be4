"""The loop on Kafka and Redis: the only package that imports faust, aiokafka or redis."""
