"""The tests: they mirror the package; `support` holds what they stand on."""
