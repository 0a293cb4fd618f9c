"""Which topic a commit is about, told in its metadata: its name may be another topic's when it is read.

The text is what the committer gave, `|topic:`, base64url of the topic's id (KIP-516, Kafka 2.8), `@` and
the cluster's id: what mirrors a group to another cluster takes this text along, and there it means nothing.
"""

from __future__ import annotations

import base64
import re

from convex_messaging_fastapi.transport.kafka.engine import TopicId

# Kafka names clusters by 22 characters, others by some more.
_MARKED = re.compile(r"(?s)(.*)\|topic:([A-Za-z0-9_-]{22})@([A-Za-z0-9_.:-]{1,96})")


def marked(metadata: str, topic: TopicId | None) -> str:
    """As it is, where it is not known, or cannot be told, which topic it is."""
    if topic is None:
        return metadata
    text = f"{metadata}|topic:{base64.urlsafe_b64encode(topic.id).decode().rstrip('=')}@{topic.cluster}"
    return text if unmarked(text) == (metadata, topic) else metadata


def unmarked(metadata: str) -> tuple[str, TopicId | None]:
    """What `marked` was given. Text of others is theirs whole, and tells of no topic."""
    found = _MARKED.fullmatch(metadata)
    if found is None:
        return metadata, None
    return found[1], TopicId(found[3], base64.urlsafe_b64decode(found[2] + "=="))
