"""How a log line names a message, its key, partitions and counts: bounded, and safe to print."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from convex_messaging_fastapi.messages.headers import CORRELATION_ID, MESSAGE_ID
from convex_messaging_fastapi.messages.validation_errors import MAX_NAME, one_line, short
from convex_messaging_fastapi.records import Record, TopicPartition

SHOWN = 5
"""How many of a kind one line names."""

MAX_KEY = 64

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-")


def about(record: Record) -> dict[str, Any]:
    """What identifies a message; the `extra` of a line about one has all these names, whatever it tells."""
    known = {name: value for name, value in record.headers if value is not None}
    trace = _TRACEPARENT.match(known.get("traceparent", b""))
    return {
        "topic": one_line(record.topic, MAX_NAME),
        "partition": record.partition,
        "offset": record.offset,
        "group": None,
        "handler": None,
        "attempt": None,
        "exception_type": None,
        "message_id": short(known.get(MESSAGE_ID)),
        "correlation_id": short(known.get(CORRELATION_ID)),
        "trace_id": trace[1].decode() if trace else None,
    }


def key_named(key: bytes | None) -> str:
    if key is None:
        return "no key"
    try:
        return f"key '{one_line(key[:MAX_KEY].decode(), MAX_KEY)}'" + ("..." if len(key) > MAX_KEY else "")
    except UnicodeDecodeError:  # of bytes, or in the middle of a character
        return f"key 0x{key[:MAX_KEY].hex()}" + ("..." if len(key) > MAX_KEY else "")


def named(record: Record) -> str:
    found = next((value for name, value in reversed(record.headers) if name == MESSAGE_ID and value), None)
    return f"{place(record)} (message-id {short(found)})" if found else place(record)


def place(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def listed(partitions: Collection[TopicPartition]) -> str:
    """`: orders/0-3, orders/7`, or nothing."""
    runs: list[tuple[TopicPartition, TopicPartition]] = []
    for each in sorted(partitions):
        if runs and runs[-1][1] == (each.topic, each.partition - 1):
            runs[-1] = runs[-1][0], each
        else:
            runs.append((each, each))
    ends = [
        f"{first.topic}/{first.partition}" + (f"-{last.partition}" if last > first else "")
        for first, last in runs
    ]
    return f": {some(ends)}" if ends else ""


def some(names: Iterable[str]) -> str:
    named = list(names)
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return ", ".join(named[:SHOWN]) + more


def counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
