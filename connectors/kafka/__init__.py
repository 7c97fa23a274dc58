"""The bus over Kafka: settings, topics, the wire format, producer and consumer."""
