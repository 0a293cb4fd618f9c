"""The topic's id in the metadata of a commit: by the time it is read, another topic may have that name.

The text is the committer's own, then `|topic:`, base64url of the topic's id (KIP-516, Kafka 2.8), `@` and the
cluster's id. Tools that mirror a group to another cluster copy this text, and there it must mean nothing.
"""

from __future__ import annotations

import base64
import re

from convex_messaging_fastapi.transport.kafka.engine import TopicId

# A cluster id of Kafka has 22 characters, that of other implementations more.
_MARKED = re.compile(r"(?s)(.*)\|topic:([A-Za-z0-9_-]{22})@([A-Za-z0-9_.:-]{1,96})")


def marked(metadata: str, topic: TopicId | None) -> str:
    """`metadata` with the topic's id; unchanged if the id is unknown, or could not be read back."""
    if topic is None:
        return metadata
    text = f"{metadata}|topic:{base64.urlsafe_b64encode(topic.id).decode().rstrip('=')}@{topic.cluster}"
    return text if unmarked(text) == (metadata, topic) else metadata


def unmarked(metadata: str) -> tuple[str, TopicId | None]:
    """The arguments of `marked`; of a text that it did not make, the whole text and no topic."""
    found = _MARKED.fullmatch(metadata)
    if found is None:
        return metadata, None
    return found[1], TopicId(found[3], base64.urlsafe_b64decode(found[2] + "=="))
