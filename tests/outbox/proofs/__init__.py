"""What the outbox promises, on a real PostgreSQL and a real Kafka, while relays are killed and frozen."""
