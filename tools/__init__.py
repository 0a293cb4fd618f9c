"""What `make` needs beyond one command: preparing a machine."""
