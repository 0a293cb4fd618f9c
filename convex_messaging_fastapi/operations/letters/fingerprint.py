"""Which letters failed alike: the same key, and the same ten digits, in every process and after a deploy."""

from __future__ import annotations

import hashlib
import json
import re
from typing import NamedTuple

from convex_messaging_fastapi.operations.letters.fields import Fields, text
from convex_messaging_fastapi.operations.letters.frames import frame_of, without_line
from convex_messaging_fastapi.operations.letters.telling import Told
from convex_messaging_fastapi.operations.values import NOT_KNOWN

_NUMBERS = re.compile(r"[0-9]+")
_LONGEST = 512
"""Characters of each part; ours are cut to half of it."""


class GroupKey(NamedTuple):
    """What letters of one group have in common.

    `frame` is without its line, which a deploy moves; of letters of .NET it is the error.
    """

    topic: str
    group: str
    handler: str
    exception_type: str | None
    frame: str | None


def group_key_of(told: Told) -> GroupKey:
    fields = told.fields
    return GroupKey(
        _cut(text(fields.get("OriginalTopic"))) or NOT_KNOWN,
        _cut(text(fields.get("ConsumerGroup"))) or NOT_KNOWN,
        _cut(text(fields.get("Handler"))) or NOT_KNOWN,
        _cut(text(fields.get("ExceptionType"))),
        _cut(_error(fields) if told.kind == "dotnet" else without_line(frame_of(fields))),
    )


def group_id_of(key: GroupKey) -> str:
    """Ten hexadecimal digits."""
    written = json.dumps(key, ensure_ascii=True, separators=(",", ":")).encode()
    return hashlib.blake2b(written).hexdigest()[:10]


def _error(fields: Fields) -> str | None:
    """What a letter of .NET is told by, which has no type and no place: its text, whatever its numbers."""
    error = text(fields.get("ErrorMessage"))
    return None if error is None else _NUMBERS.sub("#", error[:_LONGEST])


def _cut(part: str | None) -> str | None:
    return None if part is None else part[:_LONGEST]
