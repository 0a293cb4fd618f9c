"""Which dead letters are meant: a frozen filter, and whether a letter passes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.operations.values import LetterState
from convex_messaging_fastapi.policies import shown

StateWanted = LetterState | Literal["expires_soon", "all"]
"""`expires_soon`: open, and its topic may remove it within 24 hours."""

_STATES = (*get_args(LetterState), "expires_soon", "all")
_ID = re.compile(r"(?:[a-zA-Z0-9._-]{1,249}/)?[0-9]{1,10}/[0-9]{1,19}")
_GROUP_ID = re.compile(r"[0-9a-f]{10}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which dead letters are meant: those that pass every field that is given.

    `ids` are letters' ids. `topic` is the failed message's, with or without the prefix. `group` and
    `handler` are exact; `-` means letters that tell none. `exception` is a type's name, with its module or
    without. `text` is looked for in the error's text, the key and the value, whatever the case. `since`
    and `until` are when it failed, the first included; both need a time zone. `min_replays` is how often
    it was replayed at least. A mistake raises `ConfigurationError`.

        Filter(topic="payments", exception="CardRefused", since=datetime(2026, 1, 1, tzinfo=UTC))
    """

    ids: tuple[str, ...] = ()
    group_id: str | None = None
    topic: str | None = None
    group: str | None = None
    handler: str | None = None
    exception: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    state: StateWanted = "open"
    min_replays: int = 0

    def __post_init__(self) -> None:
        for name, (takes, accepts) in _RULES.items():
            if not accepts(value := getattr(self, name)):
                raise ConfigurationError(f"Filter.{name} takes {takes}, not {shown(value)}")
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise ConfigurationError("Filter.until must be later than since, or no letter is meant")


def is_id(value: object) -> bool:
    """Whether this can be the id of a letter."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _are_ids(value: object) -> bool:
    return isinstance(value, tuple) and all(map(is_id, value))


def _is_text_or_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and bool(value))


def _is_time_or_none(value: object) -> bool:
    return value is None or (isinstance(value, datetime) and value.tzinfo is not None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_TEXT = ("a text that is not empty, or None", _is_text_or_none)
_TIME = ("a datetime with a time zone, such as datetime.now(UTC), or None", _is_time_or_none)
_RULES: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "ids": ("a tuple of letters' ids, such as ('2/517',)", _are_ids),
    "group_id": (
        "ten hexadecimal digits, or None",
        lambda value: value is None or (isinstance(value, str) and bool(_GROUP_ID.fullmatch(value))),
    ),
    "topic": _TEXT,
    "group": _TEXT,
    "handler": _TEXT,
    "exception": _TEXT,
    "text": _TEXT,
    "since": _TIME,
    "until": _TIME,
    "state": (f"one of {', '.join(_STATES)}", lambda value: isinstance(value, str) and value in _STATES),
    "min_replays": ("a whole number of 0 or more", _is_count),
}
