"""What tests stand on: a real Kafka, an independent reader of it, child processes, waiting."""
