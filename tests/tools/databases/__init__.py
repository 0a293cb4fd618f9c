"""Tests of the databases that tests use."""
