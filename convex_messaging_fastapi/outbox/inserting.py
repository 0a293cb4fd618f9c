"""Puts records into the outbox as rows, in the caller's own transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.orm import Session

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.messages.headers import MESSAGE_ID
from convex_messaging_fastapi.outbox.rows import lane_of, short_id, written_headers
from convex_messaging_fastapi.outbox.tables import MessagingTables
from convex_messaging_fastapi.outbox.transactions import (
    MYSQL,
    Blocking,
    Waiting,
    connection_of,
    tell_of_commit,
)
from convex_messaging_fastapi.publishing import PublishLimits
from convex_messaging_fastapi.publishing.limits import KEPT_BYTES
from convex_messaging_fastapi.publishing.publish_errors import too_large_for
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords, header_text, size_of, utc

ROWS_A_STATEMENT = 1_000

_LOCKED_BY = "an outbox of messages"


class Inserting:
    """A destination of publishing: rows of `tables` in the transaction of `target`.

    `message_ids` are those of what was put in, in order. A receipt has neither partition nor offset,
    which are known once the relay has published the row. With `ordered`, messages of one key are put in
    one transaction after another. Raises `ConfigurationError` for a transaction that cannot be rolled
    back, and what the database raises.
    """

    def __init__(
        self,
        target: Waiting | Blocking,
        tables: MessagingTables,
        limits: PublishLimits,
        committed: Callable[[Any], object],
        unix: Callable[[], float],
        *,
        ordered: bool,
    ) -> None:
        self._target, self._tables, self._limits = target, tables, limits
        self._committed, self._unix, self._ordered = committed, unix, ordered
        self.message_ids: list[str] = []

    async def publish(self, topic: str, record: OutgoingRecord, timeout: float, /) -> Receipt:
        await self._insert(topic, (record,))
        return self._receipt(topic)

    async def publish_many(self, topic: str, records: OutgoingRecords, timeout: float, /) -> list[Receipt]:
        await self._insert(topic, [records[index] for index in range(len(records))])
        return [self._receipt(topic)] * len(records)

    def _receipt(self, topic: str) -> Receipt:
        return Receipt(topic, -1, -1, utc(int(self._unix() * 1000)))

    async def _insert(self, topic: str, records: Sequence[OutgoingRecord]) -> None:
        for record in records:
            error = too_large_for(self._limits, topic, record, size_of(record) + KEPT_BYTES)
            if error is not None:
                raise error
        if isinstance(self._target, Waiting):
            await self._target.run_sync(self._insert_now, topic, records)
        else:
            self._insert_now(self._target, topic, records)

    def _insert_now(self, target: Blocking, topic: str, records: Sequence[OutgoingRecord]) -> None:
        if not records:
            return
        statement = insert(self._tables.outbox)
        if isinstance(target, Session):
            # What the message tells of comes first: neither 2.0 nor `autoflush=False` would see to it.
            target.flush()
        connection = connection_of(target, statement)
        if self._ordered:
            _take_turns(connection, self._tables.prefix, {record.key for record in records})
        is_mysql = connection.dialect.name in MYSQL
        ids = [header_text(record.headers, MESSAGE_ID) or "" for record in records]
        rows = map(_row, (topic,) * len(records), records, ids, (is_mysql,) * len(records))
        while some := list(islice(rows, ROWS_A_STATEMENT)):
            connection.execute(statement, some)
        self.message_ids += ids
        tell_of_commit(target, self._committed)


def _row(topic: str, record: OutgoingRecord, message_id: str, is_mysql: bool) -> dict[str, Any]:
    kept_id = short_id(message_id)
    return {
        "lane": lane_of(record.key, message_id),
        "topic": topic.encode() if is_mysql else topic,
        "record_key": record.key,
        "value": record.value,
        "headers": written_headers(record.headers),
        "message_id": kept_id.encode() if is_mysql else kept_id,
    }


def _take_turns(connection: Connection, prefix: str, keys: set[bytes | None]) -> None:
    """Wait until no other transaction has these keys; raises `ConfigurationError` where none can be held."""
    if connection.dialect.name in MYSQL:
        raise ConfigurationError(
            "ordered=True cannot be had here, for GET_LOCK outlives a transaction: lock the row of the "
            "aggregate with FOR UPDATE first, and publish without `ordered`"
        )
    if None in keys:
        raise ConfigurationError("ordered=True needs a key: the order is that of the messages of one key")
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyhow
        namespace = _signed(crc32(f"{_LOCKED_BY} {prefix}".encode()))
        # Sorted, or two transactions could wait for each other.
        for number in sorted(_numbers(keys)):
            connection.execute(select(func.pg_advisory_xact_lock(namespace, number)))


def _numbers(keys: set[bytes | None]) -> Iterator[int]:
    return iter({_signed(crc32(key)) for key in keys if key is not None})


def _signed(number: int) -> int:
    """As PostgreSQL's `int`, which has 32 bits and a sign."""
    return number - 2**32 if number >= 2**31 else number
