"""The message of a letter that does not hold it is read where it stands, if it is still the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.operations.replaying.originals import original_of
from convex_messaging_fastapi.operations.values import Letter, Origin
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import LogRange, LogReader
from tests.operations.replaying.test_choosing import LETTER

AT = datetime(2026, 1, 1, 12, 30, 0, 123000, tzinfo=UTC)
MESSAGE = Record(
    "convex.payments", 1, 5, round(AT.timestamp() * 1000), b"k", b"value", (("message-id", b"m-5"),)
)
OMITTED = replace(
    LETTER,
    origin=Origin("convex.payments", 1, 5, AT),
    message_id="m-5",
    omitted=("value", "headers"),
)


class OneLog:
    """A log that holds `record`, or that cannot be read."""

    def __init__(self, record: Record | None, *, fails: bool = False) -> None:
        self.record, self.fails = record, fails
        self.asked: list[Mapping[TopicPartition, LogRange]] = []

    async def read(self, ranges: Mapping[TopicPartition, LogRange]) -> AsyncGenerator[Sequence[Record], None]:
        self.asked.append(ranges)
        if self.fails:
            raise TransportError("no right to read it")
        if self.record is not None:
            yield [self.record]


async def found(letter: Letter, log: OneLog) -> Record | None:
    return await original_of(letter, cast("LogReader", log))


@pytest.mark.parametrize(
    ("change", "is_found"),
    [
        ({}, True),
        ({"timestamp_ms": 1}, False),  # the topic was made anew
        ({"headers": (("message-id", b"m-6"),)}, False),
        ({"headers": ()}, False),
        ({"offset": 6}, False),  # what stood there is compacted away
        ({"key": None, "value": None}, True),
    ],
)
async def test_only_the_very_message_is_taken(change: dict[str, Any], is_found: bool) -> None:
    record = MESSAGE._replace(**change)
    assert await found(OMITTED, OneLog(record)) == (record if is_found else None)


async def test_one_that_is_gone_or_may_not_be_read_is_not_replaced_by_anything() -> None:
    assert await found(OMITTED, OneLog(None)) is None
    assert await found(OMITTED, OneLog(MESSAGE, fails=True)) is None
    nowhere = replace(OMITTED, origin=Origin("convex.payments"))
    assert await found(nowhere, OneLog(MESSAGE)) is None


async def test_what_a_letter_holds_is_not_looked_for() -> None:
    log = OneLog(None)
    whole = replace(OMITTED, omitted=(), key=b"k", value=b"value", headers=MESSAGE.headers)
    assert (await found(whole, log), log.asked) == (MESSAGE, [])
