"""What carries records: the seam, and behind it Kafka or this process's memory."""
