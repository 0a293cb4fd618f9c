"""What a service uses of the cluster: topics, groups, and the rights on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from convex_messaging_fastapi.cli.app import Handler
    from convex_messaging_fastapi.naming import Naming
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
    """`topics` are those that handlers read, `topics_of` those of each group.

    Without an app they are not known, nor are `groups` but one.
    """

    topics: tuple[str, ...]
    topics_of: Mapping[str, tuple[str, ...]]
    groups: tuple[str, ...]
    letters: str
    states: str
    rights: tuple[Need, ...]
    is_of_app: bool


def needs_of(settings: MessagingSettings, handlers: Iterable[Handler] | None) -> Needs:
    """`handlers` are those of the app, `None` where there is no app."""
    from convex_messaging_fastapi.naming import Naming

    naming, known = Naming(settings), list(handlers or ())
    topics = tuple(dict.fromkeys(topic for handler in known for topic in handler.topics))
    groups = tuple(dict.fromkeys(handler.group for handler in known)) or (settings.consumer_group,)
    topics_of = {
        group: tuple(dict.fromkeys(topic for each in known if each.group == group for topic in each.topics))
        for group in groups
    }
    buries = settings.unreadable == "bury" or any(
        each.declared.options.dead_letter == "bury" for each in known
    )
    rights = (
        *(Need("topic", topic, "READ", "its handlers read it") for topic in topics),
        *(Need("group", group, "READ", "its handlers are its members") for group in groups if known),
        *_to_bury(naming, buries=bool(known) and buries),
        *_to_operate(naming, groups),
    )
    letters, states = naming.dead_letters, naming.dead_letter_states
    return Needs(topics, topics_of, groups, letters, states, rights, handlers is not None)


def _to_bury(naming: Naming, *, buries: bool) -> Iterator[Need]:
    if buries:
        yield Need("topic", naming.dead_letters, "WRITE", "messages that fail are buried there")


def _to_operate(naming: Naming, groups: Iterable[str]) -> Iterator[Need]:
    """A service runs without these, and whoever lists or replays letters needs them."""
    for topic, operation, what_for in (
        (naming.dead_letters, "READ", "dead letters are listed from it"),
        (naming.dead_letter_states, "READ", "what was done about them stands there"),
        (naming.dead_letter_states, "WRITE", "a replay writes what it did there"),
        (naming.control, "READ", "a service reads there that it is paused"),
    ):
        yield Need("topic", topic, operation, what_for, optional=True)
    for group in groups:
        what_for = f"handlers of group {group} read there what is replayed"
        yield Need("topic", naming.replay(group), "READ", what_for, optional=True)
