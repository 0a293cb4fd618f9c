"""What a service uses of the cluster: topics, groups, and the rights on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convex_messaging_fastapi.cli.app import Handler
    from convex_messaging_fastapi.settings import MessagingSettings


@dataclass(frozen=True, slots=True)
class Need:
    """A right, and who needs it; without one that is `optional` the service runs."""

    kind: str
    name: str
    operation: str
    what_for: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """`topics` are those that handlers read. Without an app they are not known, nor are `groups` but one."""

    topics: tuple[str, ...]
    groups: tuple[str, ...]
    letters: str
    states: str
    rights: tuple[Need, ...]
    is_of_app: bool


def needs_of(settings: MessagingSettings, handlers: Iterable[Handler] | None) -> Needs:
    """`handlers` are those of the app, `None` where there is no app."""
    from convex_messaging_fastapi.naming import Naming

    letters = Naming(settings).dead_letters
    states = f"{letters}.state"
    known = list(handlers or ())
    topics = tuple(dict.fromkeys(topic for handler in known for topic in handler.topics))
    groups = tuple(dict.fromkeys(handler.group for handler in known)) or (settings.consumer_group,)
    buries = settings.unreadable == "bury" or any(
        each.declared.options.dead_letter == "bury" for each in known
    )
    rights = [
        *(Need("topic", topic, "READ", "its handlers read it") for topic in topics),
        *(Need("group", group, "READ", "its handlers are its members") for group in groups if known),
        *(
            [Need("topic", letters, "WRITE", "messages that fail are buried there")]
            if known and buries
            else []
        ),
        Need("topic", letters, "READ", "dead letters are listed from it", optional=True),
        Need("topic", states, "READ", "what was done about them stands there", optional=True),
        Need("topic", states, "WRITE", "a replay writes what it did there", optional=True),
    ]
    return Needs(topics, groups, letters, states, tuple(rights), handlers is not None)
