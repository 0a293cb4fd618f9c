"""Names on the wire: topics with their prefix, and the dead-letter topic."""

from __future__ import annotations

import re
from functools import lru_cache

from convex_messaging_fastapi.errors import ConfigurationError

MAX_TOPIC_LENGTH = 249
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")


@lru_cache(maxsize=1024)
def topic_on_wire(prefix: str, topic: str) -> str:
    """`topic` with `prefix` before it, unless it has it already or the prefix is empty.

    Raises `ConfigurationError` for a name that Kafka does not take.
    """
    return _checked(_prefixed(prefix, topic))


def dead_letter_topic(prefix: str) -> str:
    """Where everything that failed under `prefix` is buried."""
    return topic_on_wire(prefix, "dlq")


def _prefixed(prefix: str, topic: str) -> str:
    if not topic:
        raise ConfigurationError("a topic has no name: give it one, such as 'user.created'")
    if not prefix or topic.startswith(f"{prefix}."):
        return topic
    return f"{prefix}.{topic}"


def _checked(name: str) -> str:
    if not _LEGAL.fullmatch(name):
        raise ConfigurationError(
            f"{_shown(name)} cannot be the name of a topic: "
            "Kafka takes ASCII letters, digits, '.', '_' and '-'"
        )
    if len(name) > MAX_TOPIC_LENGTH:
        raise ConfigurationError(
            f"{_shown(name)} cannot be the name of a topic: with its prefix it has {len(name)} characters, "
            f"and Kafka takes {MAX_TOPIC_LENGTH}"
        )
    if name in (".", ".."):
        raise ConfigurationError(f"{name!r} cannot be the name of a topic: Kafka refuses '.' and '..'")
    return name


def _shown(name: str) -> str:
    return repr(name) if len(name) <= 80 else f"{name[:80]!r}..."
