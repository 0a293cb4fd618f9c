"""Which topic a commit is about, told in its metadata: its name may be another topic's when it is read.

The text is what the committer gave, `|topic:` and base64url of the topic's id (KIP-516, Kafka 2.8).
"""

from __future__ import annotations

import base64
import re

_MARKED = re.compile(r"(?s)(.*)\|topic:([A-Za-z0-9_-]{22})")


def marked(metadata: str, topic_id: bytes | None) -> str:
    """As it is, where no id is known."""
    if topic_id is None:
        return metadata
    return f"{metadata}|topic:{base64.urlsafe_b64encode(topic_id).decode().rstrip('=')}"


def unmarked(metadata: str) -> tuple[str, bytes | None]:
    """What `marked` was given. Text of others is theirs whole, and tells no id."""
    found = _MARKED.fullmatch(metadata)
    if found is None:
        return metadata, None
    return found[1], base64.urlsafe_b64decode(found[2] + "==")
