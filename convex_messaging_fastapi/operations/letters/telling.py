"""What the record of a dead letter tells, whoever wrote it, under the names of our own letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jiter import from_json

from convex_messaging_fastapi.messages.bounds import Bounds, OutOfBounds
from convex_messaging_fastapi.messages.headers import MESSAGE_ID
from convex_messaging_fastapi.operations.letters import foreign
from convex_messaging_fastapi.operations.letters.cutting import Payload, cut
from convex_messaging_fastapi.operations.letters.fields import Fields
from convex_messaging_fastapi.operations.values import LetterKind
from convex_messaging_fastapi.records import Record

QUICK_BYTES = 64 * 1024
"""So much JSON is parsed within two milliseconds, whatever it is."""

_OURS = frozenset({"ConsumerGroup", "Handler", "OriginalOffset", "OriginalPartition"})
"""Fields that letters of this package have, and those of the .NET library do not."""

_BOUNDS = Bounds(max_bytes=2**31)
"""Of members and levels, of which a letter of ours has few; its bytes the topic bounds."""


class Told(NamedTuple):
    """What one record tells. `identity` is the same for letters about the same failure.

    `payload` is the message where it was cut out of `fields`, for it is large.
    """

    kind: LetterKind
    fields: Fields
    identity: bytes | None = None
    payload: Payload | None = None


def is_quickly_told(record: Record) -> bool:
    """Whether `told_of` takes so little time that it needs no thread of its own."""
    value = record.value
    if value is None or len(value) <= QUICK_BYTES or _family(record) is not None:
        return True
    return (parts := cut(value)) is not None and len(parts[0]) <= QUICK_BYTES


def told_of(record: Record) -> Told:
    """What a record of a dead-letter topic tells; of one that is no letter that it is `unreadable`."""
    family, identity = None, None
    for name, said in record.headers:
        if name == MESSAGE_ID:
            identity = said
        elif name in foreign.MARKS:
            family = foreign.MARKS[name]
    if family is not None:
        return Told(family, foreign.fields_of(family, record))
    return _of_json(record.value, identity)


def _family(record: Record) -> LetterKind | None:
    return next((foreign.MARKS[name] for name, _ in record.headers if name in foreign.MARKS), None)


def _of_json(value: bytes | None, identity: bytes | None) -> Told:
    if value is None:
        return _unreadable("the record has no value")
    payload = None
    if len(value) > QUICK_BYTES and (parts := cut(value)) is not None:
        value, payload = parts
    try:
        if len(value) > QUICK_BYTES:
            _BOUNDS.check(value)
        fields = from_json(value, allow_inf_nan=False, cache_mode="keys")
    except OutOfBounds as error:
        return _unreadable(f"the value is not looked at: {error}")
    except (ValueError, RecursionError):
        return _unreadable("the value is not JSON")
    if not isinstance(fields, dict):
        return _unreadable("the value is JSON, and no dead letter")
    if "OriginalTopic" not in fields:
        fields = _in_our_spelling(fields)
    if not isinstance(fields.get("OriginalTopic"), str) or "ErrorMessage" not in fields:
        return _unreadable("the value is JSON, and no dead letter")
    is_ours = "ConsumerGroup" in fields or not _OURS.isdisjoint(fields)
    return Told("convex" if is_ours else "dotnet", fields, identity, payload)


def _in_our_spelling(fields: Mapping[str, Any]) -> dict[str, Any]:
    """With names in PascalCase, whether they are in camelCase or in snake_case."""
    return {"".join(part[:1].upper() + part[1:] for part in name.split("_")): fields[name] for name in fields}


def _unreadable(why: str) -> Told:
    return Told("unreadable", {"ErrorMessage": why})
