"""Handles what arrives: taken in, kept in order, tried, tried again or buried, and only then committed."""
