"""Databases for tests and for trials: a PostgreSQL or a MariaDB of our own, on a port of this machine."""
