"""What is written about a message that failed for good: built to fit its topic, and written until stored."""

from convex_messaging_fastapi.consuming.dead_letters.building import failure_to_read
from convex_messaging_fastapi.consuming.dead_letters.writer import (
    DeadLetterTopic,
    DeadLetterWriter,
    topic_for_dead_letters,
)

__all__ = ["DeadLetterTopic", "DeadLetterWriter", "failure_to_read", "topic_for_dead_letters"]
