"""Measures this package beside the raw engine, its strongest peer, a ceiling and a floor: `make bench`."""
