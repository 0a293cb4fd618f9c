"""What tests stand on: an independent reader of a real Kafka, proxies before it, services, ways to wait."""
