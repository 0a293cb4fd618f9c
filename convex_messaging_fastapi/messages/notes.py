"""Records of topics of ours that tell something as a JSON object: written, and read whatever is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jiter import from_json

from convex_messaging_fastapi.records import OutgoingRecord


def note(key: bytes, told: Mapping[str, Any]) -> OutgoingRecord:
    """The record to write. What JSON has no type for is written as its text."""
    written = json.dumps(told, ensure_ascii=False, separators=(",", ":"), default=str)
    return OutgoingRecord(key, written.encode("utf-8", "backslashreplace"))


def told_in(value: bytes, max_bytes: int) -> dict[str, Any]:
    """The fields of a note; none of what is no object, or longer than `max_bytes`. Never raises."""
    if len(value) > max_bytes:
        return {}
    try:
        told = from_json(value, allow_inf_nan=False)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def written_time(at: datetime) -> str:
    """In UTC, as .NET writes it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_time(value: object) -> datetime | None:
    """A time as JSON has it, with .NET's seven digits too; in UTC where no zone is given. Never raises."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is UTC:
            return at
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
