"""What a relay asks of the database, and what it writes there."""
