"""Which letters an address or a form means, and the address that means these letters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.operations import Filter

Fields = Mapping[str, Sequence[str]]

NAMES = (
    "ids", "group_id", "topic", "group", "handler", "exception", "text", "since", "until", "state",
    "min_replays",
)  # fmt: skip
"""Those of a filter."""


def one(fields: Fields, name: str) -> str:
    """The last value of a field, without blanks around it; empty where there is none."""
    values = fields.get(name, ())
    return values[-1].strip() if values else ""


def filter_in(fields: Fields) -> Filter:
    """Raises `ConfigurationError` for what no letter can be."""
    given: dict[str, Any] = {
        name: said for name in NAMES if name not in ("ids", "since", "until") and (said := one(fields, name))
    }
    if "min_replays" in given:
        given["min_replays"] = number(given["min_replays"], "min_replays")
    for name in ("since", "until"):
        if said := one(fields, name):
            given[name] = _moment(said, name)
    if ids := tuple(each for each in fields.get("ids", ()) if each):
        given["ids"] = ids
    return Filter(**given)


def fields_of(wanted: Filter) -> dict[str, tuple[str, ...]]:
    """The fields that `filter_in` reads as this filter."""
    return dict(_fields(wanted))


def told_again(told: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The same of the filter that a job tells, which somebody else may have written."""
    found: dict[str, tuple[str, ...]] = {}
    for name in NAMES:
        said = told.get(name)
        if isinstance(said, str | int) and not isinstance(said, bool):
            found[name] = (str(said),)
        elif name == "ids" and isinstance(said, list | tuple):
            found[name] = tuple(each for each in said if isinstance(each, str))
    return found


def query_of(fields: Fields, **more: str | None) -> str:
    """What stands behind the question mark."""
    every = {name: list(values) for name, values in fields.items()}
    every |= {name: [value] for name, value in more.items() if value is not None}
    return urlencode(every, doseq=True)


def number(said: str, name: str) -> int:
    if not (said.isascii() and said.isdigit() and len(said) <= 9):
        raise ConfigurationError(f"{name} is a whole number of 0 or more, not {said[:40]!r}")
    return int(said)


def _fields(wanted: Filter) -> Iterator[tuple[str, tuple[str, ...]]]:
    plain = Filter()
    for name in NAMES:
        value = getattr(wanted, name)
        if value == getattr(plain, name):
            continue
        if isinstance(value, tuple):
            yield name, value
        else:
            yield name, (value.isoformat() if isinstance(value, datetime) else str(value),)


def _moment(said: str, name: str) -> datetime:
    """As browsers send it: without a time zone it is UTC, as all times of the console."""
    try:
        found = datetime.fromisoformat(said)
    except ValueError:
        raise ConfigurationError(f"{name} is a time such as 2026-11-01T09:00, not {said[:40]!r}") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
