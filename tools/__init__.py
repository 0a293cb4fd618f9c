"""What `make`, tests and benchmarks share: a prepared machine, a real Kafka, pages that runs write."""
