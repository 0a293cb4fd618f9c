"""Names on the wire: topics with their prefix, and the topics that are ours."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b

from convex_messaging_fastapi.errors import ConfigurationError

MAX_TOPIC_LENGTH = 249
MAX_GROUP_PART = 100
"""How much of a group's name stands in a topic, where the whole of it cannot."""

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


def dead_letter_states(prefix: str) -> str:
    """Where it is remembered which dead letters were replayed or discarded."""
    return topic_on_wire(prefix, "dlq.state")


def control_topic(prefix: str) -> str:
    """Where the processes of a fleet are told to pause."""
    return topic_on_wire(prefix, "control")


@lru_cache(maxsize=1024)
def replay_topic(prefix: str, group: str) -> str:
    """Where dead letters are replayed to, for this group alone to read.

    Two groups may give one name, of which one has the prefix already: what is written there names its
    group, exactly. Raises `ConfigurationError` where the prefix leaves no room for it.
    """
    return _checked(f"{_of_group(prefix, group)}{_REPLAY}")


def replay_topics_beside(topic: str) -> list[str]:
    """If `topic` is one in which messages of some group wait for another try: where they are replayed to.

    Such a topic is called as its group, then `.retry.`, then anything, which may be the same again.
    """
    return [f"{topic[: found.start()]}{_REPLAY}" for found in _RETRY.finditer(topic)]


_REPLAY = ".replay"
_RETRY = re.compile(r"(?=\.retry\.)")


def _of_group(prefix: str, group: str) -> str:
    """A group may have any name; its topics have the legal part of it, and a hash of the whole."""
    name = _prefixed(prefix, group)
    if is_legal(f"{name}{_REPLAY}"):
        return name
    hashed = f"-{blake2b(group.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
    room = MAX_TOPIC_LENGTH - len(f"{prefix}.{hashed}{_REPLAY}")
    legal = "".join(_LEGAL.findall(group))[: max(0, min(MAX_GROUP_PART, room))]
    return _prefixed(prefix, f"{legal}{hashed}")


def is_legal(name: str) -> bool:
    """Whether Kafka takes this name of a topic."""
    return len(name) <= MAX_TOPIC_LENGTH and _LEGAL.fullmatch(name) is not None and name not in (".", "..")


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
