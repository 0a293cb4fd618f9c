"""Makes the letter that an operator sees of a record and what it tells."""

from __future__ import annotations

from datetime import datetime

from convex_messaging_fastapi.messages import copies
from convex_messaging_fastapi.messages.headers import MESSAGE_ID
from convex_messaging_fastapi.messages.notes import read_time
from convex_messaging_fastapi.messages.validation_errors import MAX_NAME
from convex_messaging_fastapi.operations.letters.contents import Contents, contents_of, parts_omitted
from convex_messaging_fastapi.operations.letters.fields import Fields, count, is_said, text
from convex_messaging_fastapi.operations.letters.fingerprint import group_id_of, group_key_of
from convex_messaging_fastapi.operations.letters.frames import frame_of
from convex_messaging_fastapi.operations.letters.telling import Told
from convex_messaging_fastapi.operations.values import NOT_KNOWN, Letter, LetterPlace, Origin
from convex_messaging_fastapi.records import Record, header_text, utc

MAX_SHOWN = 2000
"""Characters of a text in a page's letters; ours are not longer."""

MAX_KEY = 1024
"""Bytes of the key in a page's letters."""

MAX_REPLAYS = 65_535

_CUT_NAME = MAX_NAME + len("...")
_NAME_OF_THE_SMALLEST = 64
"""Characters of a name in the smallest dead letter, which does not say that it was cut."""


def letter_of(record: Record, told: Told, own_topic: str, *, whole: bool) -> Letter:
    """Without its state, which is not in the record. `own_topic` is this bus's dead-letter topic."""
    fields, place = told.fields, place_of(record)
    contents = contents_of(told, record) if whole else _listed(told, record)
    longest = None if whole else MAX_SHOWN
    return Letter(
        id=id_of(place, own_topic),
        kind=told.kind,
        place=place,
        group_id=group_id_of(group_key_of(told)),
        origin=_origin(fields, longest),
        group=_text(fields.get("ConsumerGroup"), longest) or NOT_KNOWN,
        handler=_text(fields.get("Handler"), longest) or NOT_KNOWN,
        error=_text(fields.get("ErrorMessage"), longest) or "",
        exception_type=_text(fields.get("ExceptionType"), longest),
        frame=_cut(frame_of(fields), longest),
        attempts=count(fields.get("Attempts")),
        replay_count=replays(fields),
        failed_at=failed_at(fields, record),
        message_id=_message_id(told, record, longest),
        size=len(record.value or b""),
        key=contents.key,
        value=contents.value,
        headers=contents.headers,
        stack=text(fields.get("StackTrace")) if whole else None,
        is_whole=whole,
        omitted=contents.omitted,
        names_cut=_names_cut(fields),
        replay_of=_replay_of(told, own_topic),
    )


def place_of(record: Record) -> LetterPlace:
    return LetterPlace(record.topic, record.partition, record.offset, record.timestamp_ms)


def id_of(place: LetterPlace, own_topic: str) -> str:
    """How operators call a letter."""
    short = f"{place.partition}/{place.offset}"
    return short if place.topic == own_topic else f"{place.topic}/{short}"


def failed_at(fields: Fields, record: Record) -> datetime:
    """When it failed, or where that is not said when the letter was written."""
    return read_time(fields.get("FailedAt")) or utc(record.timestamp_ms)


def replays(fields: Fields) -> int:
    return min(count(fields.get("ReplayCount")) or 0, MAX_REPLAYS)


def replayed_from(told: Told) -> tuple[str, str] | None:
    """The letter whose replay failed as this one, as `{topic}/{partition}/{offset}`, and the replay's job.

    From the failed message's headers: anybody may have written them.
    """
    listed = told.fields.get("OriginalHeaders")
    if not isinstance(listed, list):
        return None
    found = {
        each["Name"]: each.get("Value")
        for each in listed
        if isinstance(each, dict) and each.get("Name") in (copies.LETTER, copies.JOB)
    }
    letter, job = found.get(copies.LETTER), found.get(copies.JOB)
    return (letter, job) if isinstance(letter, str) and isinstance(job, str) else None


def _listed(told: Told, record: Record) -> Contents:
    key = None if record.key is None else record.key[:MAX_KEY]
    return Contents(key, None, (), parts_omitted(told, record))


def _origin(fields: Fields, longest: int | None) -> Origin:
    return Origin(
        _text(fields.get("OriginalTopic"), longest) or NOT_KNOWN,
        count(fields.get("OriginalPartition")),
        count(fields.get("OriginalOffset")),
        read_time(fields.get("OriginalTimestamp")),
        count(fields.get("OriginalLastOffset")),
    )


def _message_id(told: Told, record: Record, longest: int | None) -> str | None:
    if told.kind in ("spring", "smallrye", "connect"):
        return _cut(header_text(record.headers, MESSAGE_ID), longest)  # their records have its headers
    return _text(told.fields.get("MessageId"), longest)


def _replay_of(told: Told, own_topic: str) -> str | None:
    origin = replayed_from(told) if replays(told.fields) else None
    return None if origin is None else origin[0][:MAX_SHOWN].removeprefix(f"{own_topic}/")


def _names_cut(fields: Fields) -> bool:
    names = [text(fields.get(name)) or "" for name in ("ConsumerGroup", "Handler")]
    if any(len(name) >= _CUT_NAME and name.endswith("...") for name in names):
        return True
    may_be_the_smallest = all(is_said(fields.get(f"{part}Omitted")) for part in ("Payload", "Key", "Headers"))
    return may_be_the_smallest and any(len(name) == _NAME_OF_THE_SMALLEST for name in names)


def _text(value: object, longest: int | None) -> str | None:
    return _cut(text(value), longest)


def _cut(shown: str | None, longest: int | None) -> str | None:
    return None if shown is None else shown[:longest]
