"""Dead letters of other software, which tell of the failure in the headers of the record.

The value and the key of such a record are the failed message's own. What the headers say is told by family:
Spring's numbers are binary, those of SmallRye and Kafka Connect are text, and the length of neither tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from convex_messaging_fastapi.operations.letters.fields import Fields
from convex_messaging_fastapi.operations.values import LetterKind
from convex_messaging_fastapi.records import Headers, Record

_DLT, _PLAIN = "kafka_dlt-", "kafka_"
_SMALLRYE, _CONNECT = "dead-letter-", "__connect.errors."

MARKS: Mapping[str, LetterKind] = {
    "kafka_dlt-original-topic": "spring",
    "kafka_original-topic": "spring",
    "dead-letter-topic": "smallrye",
    "dead-letter-reason": "smallrye",
    "__connect.errors.topic": "connect",
}
"""A header of each family, which every letter of it has."""

_THEIRS: Mapping[LetterKind, tuple[str, ...]] = {
    "spring": (_PLAIN, "retry_topic-"),
    "smallrye": (_SMALLRYE,),
    "connect": (_CONNECT,),
}
"""How the names of headers begin that a family adds."""

_MAX_TEXT = 64 * 1024


def fields_of(kind: LetterKind, record: Record) -> Fields:
    """What the headers tell, under the names of our own letters."""
    headers = {name: value for name, value in record.headers if value is not None}
    told = _READERS[kind](headers)
    return {name: value for name, value in told.items() if value is not None}


def original_headers(kind: LetterKind, headers: Headers) -> Headers:
    """The failed message's own headers: all but those that the family adds."""
    theirs = _THEIRS[kind]
    return tuple(header for header in headers if not header[0].startswith(theirs))


def _spring(headers: Mapping[str, bytes]) -> dict[str, Any]:
    prefix = _DLT if f"{_DLT}original-topic" in headers else _PLAIN

    def told(name: str) -> bytes | None:
        return headers.get(prefix + name)

    return {
        "OriginalTopic": _text(told("original-topic")),
        "OriginalPartition": _binary(told("original-partition"), 4),
        "OriginalOffset": _binary(told("original-offset"), 8),
        "OriginalTimestamp": _iso(_binary(told("original-timestamp"), 8)),
        "ConsumerGroup": _text(told("original-consumer-group")),
        "ExceptionType": _text(told("exception-cause-fqcn") or told("exception-fqcn")),
        "ErrorMessage": _text(told("exception-message")) or "",
        "StackTrace": _text(told("exception-stacktrace")),
    }


def _smallrye(headers: Mapping[str, bytes]) -> dict[str, Any]:
    reason, cause = _text(headers.get("dead-letter-reason")), _text(headers.get("dead-letter-cause"))
    return {
        "OriginalTopic": _text(headers.get("dead-letter-topic")),
        "OriginalPartition": _decimal(headers.get("dead-letter-partition")),
        "OriginalOffset": _decimal(headers.get("dead-letter-offset")),
        "ExceptionType": _text(headers.get("dead-letter-exception-class-name")),
        "ErrorMessage": ": ".join(filter(None, (reason, cause))),
    }


def _connect(headers: Mapping[str, bytes]) -> dict[str, Any]:
    def told(name: str) -> bytes | None:
        return headers.get(_CONNECT + name)

    return {
        "OriginalTopic": _text(told("topic")),
        "OriginalPartition": _decimal(told("partition")),
        "OriginalOffset": _decimal(told("offset")),
        "ConsumerGroup": _text(told("connector.name")),
        "ExceptionType": _text(told("exception.class.name")),
        "ErrorMessage": _text(told("exception.message")) or "",
        "StackTrace": _text(told("exception.stacktrace")),
    }


_READERS: Mapping[LetterKind, Callable[[Mapping[str, bytes]], dict[str, Any]]] = {
    "spring": _spring,
    "smallrye": _smallrye,
    "connect": _connect,
}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value[:_MAX_TEXT].decode("utf-8", "replace")


def _binary(value: bytes | None, size: int) -> int | None:
    return int.from_bytes(value, "big", signed=True) if value is not None and len(value) == size else None


def _decimal(value: bytes | None) -> int | None:
    return int(value) if value is not None and len(value) <= 19 and value.isdigit() else None


def _iso(timestamp_ms: int | None) -> str | None:
    try:
        return None if timestamp_ms is None else datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat()
    except (OverflowError, OSError, ValueError):
        return None
