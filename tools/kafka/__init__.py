"""A real Kafka on this machine, for `make kafka`, tests and benchmarks: started, broken, removed."""
