"""Dead-letter topics in memory that a test fills as it likes, and the operations that look into them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from convex_messaging_fastapi import MessagingSettings
from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.consuming.dead_letters.building import build_dead_letter
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.operations import (
    Filter,
    KnownHandler,
    Letter,
    LetterPlace,
    Operations,
    StateChange,
)
from convex_messaging_fastapi.operations.states import Copy, StateOfLetter, record_of
from convex_messaging_fastapi.parts import Parts, parts_for
from convex_messaging_fastapi.records import Headers, OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic, Position
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport

DLQ, STATES = "convex.dlq", "convex.dlq.state"
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAILURE = Failure(
    "app.CardRefused", "card refused", "app.CardRefused: card refused", 3, "payments", "app.pay",
    frame="app/payments.py:41 in charge",
)  # fmt: skip


def original(offset: int = 41, **changes: Any) -> Record:
    record = Record(
        topic="convex.payments",
        partition=2,
        offset=offset,
        timestamp_ms=1_767_225_600_123,
        key=b"user-1",
        value=b'{"BetId":1,"Amount":100.00}',
        headers=(("message-id", b"m-1"), ("raw", b"\xff"), ("none", None)),
    )
    return record._replace(**changes)


def a_letter(
    record: Record | None = None, failure: Failure = FAILURE, limit_bytes: int = 64 * 1024 * 1024
) -> OutgoingRecord:
    return build_dead_letter(record or original(), failure, AT, limit_bytes)


def read(letter: OutgoingRecord, offset: int = 0) -> Record:
    """The record of a letter as it is read."""
    return Record(DLQ, 0, offset, 1_767_268_800_000, *letter)


def dotnet(**fields: Any) -> OutgoingRecord:
    """A letter of the .NET library: five fields."""
    told = {
        "OriginalTopic": "convex.payments",
        "OriginalMessage": '{"BetId":1}',
        "OriginalMessageBase64": None,
        "ErrorMessage": "Card refused",
        "FailedAt": "2026-01-01T12:00:00.1234567Z",
    }
    headers: Headers = (("message-id", uuid.uuid4().hex.encode()),)
    return OutgoingRecord(b"user-7", json.dumps(told | fields).encode(), headers)


def again(job: str, letter: str, count: int = 1) -> Headers:
    """The headers of a message whose replay failed."""
    return (
        ("message-id", b"m-1"),
        ("x-convex-replay-count", b"%d" % count),
        ("x-convex-replay-letter", letter.encode()),
        ("x-convex-replay-job", job.encode()),
    )


class Desk:
    """A cluster in memory with dead letters in it, on a clock that stands still, and its operations."""

    def __init__(
        self, *, handlers: Sequence[KnownHandler] = (), partitions: int = 1, **settings: Any
    ) -> None:
        chosen = MessagingSettings(bootstrap_servers="memory://", **settings)
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock)
        self.parts: Parts = parts_for(chosen, MemoryTransport(self.broker), self.clock)
        large = {"max.message.bytes": str(1024 * 1024 * 1024)}
        for topic in (DLQ, *chosen.further_dead_letter_topics):
            self.broker.ensure(NewTopic(topic, partitions, config=large))
        self.broker.ensure(NewTopic(STATES, 1))
        self.operations = Operations(self.parts, lambda: handlers)

    def write(self, *letters: OutgoingRecord, topic: str = DLQ, partition: int = 0) -> list[LetterPlace]:
        """Where they stand. Each call is a second after the one before."""
        self.clock.advance(1)
        first = self.broker.end_offsets(topic)[partition]
        for letter in letters:
            self.broker.append(TopicPartition(topic, partition), [letter])
        written = [record for record in self.broker.records(topic) if record.partition == partition][first:]
        return [LetterPlace(topic, partition, record.offset, record.timestamp_ms) for record in written]

    def keep(self, place: LetterPlace, *changes: StateChange, copy: Copy | None = None) -> None:
        self.put(record_of(StateOfLetter(place, changes, copy)))

    def put(self, record: OutgoingRecord) -> None:
        self.broker.append(TopicPartition(STATES, 0), [record])

    def commit(self, group: str, where: TopicPartition, offset: int) -> None:
        with self.broker.group(group) as found:
            found.offsets[where] = Position(offset)

    async def listed(self, **wanted: Any) -> list[Letter]:
        self.forget()
        return list((await self.operations.dead_letters(Filter(**wanted))).letters)

    def forget(self) -> None:
        """The next list is made anew."""
        self.clock.advance(10)
