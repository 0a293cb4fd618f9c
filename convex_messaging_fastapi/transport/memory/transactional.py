"""Transactions over the memory broker's logs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import Sent, Verdict
from convex_messaging_fastapi.transport.memory.broker import MemoryBroker
from convex_messaging_fastapi.transport.memory.transactions import Owner
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted

_FATES = {
    Verdict.TOO_LARGE: Fate.TOO_LARGE,
    Verdict.REFUSED: Fate.REFUSED,
    Verdict.FAILED: Fate.FAILED,
    Verdict.UNKNOWN: Fate.FAILED,  # nothing of it is seen before a commit
}


class MemoryTransactional:
    """Implements `TransactionalProducer`."""

    def __init__(self, broker: MemoryBroker, id: str, timeout_seconds: float) -> None:
        self._broker, self._id, self._timeout_seconds = broker, id, timeout_seconds
        self._owner: Owner | None = None
        self._open = False
        self._failed = False

    async def claim(self) -> None:
        await self._turn()
        self._owner = Owner(self._id, self._broker.claim(self._id), self._timeout_seconds)

    async def write(
        self, records: Mapping[TopicPartition, Sequence[OutgoingRecord]]
    ) -> Mapping[TopicPartition, Sequence[int]]:
        await self._turn()
        self._open = True
        with self._failing():
            return {where: self._write(where, some) for where, some in records.items() if some}

    async def commit(self) -> None:
        await self._end(commit=True)

    async def abort(self) -> None:
        await self._end(commit=False)

    async def stop(self, deadline: float) -> None:
        owner, self._owner = self._owner, None
        if owner is not None and self._open and not self._broker.is_down:
            try:
                self._broker.end(owner, commit=False)
            except NotCommitted:
                return  # whoever has the id now has aborted it

    async def _end(self, *, commit: bool) -> None:
        if self._open:
            await self._turn()
            self._open = False
            with self._failing():
                self._broker.end(self._claimed(), commit=commit)

    def _write(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> list[int]:
        offsets: list[int] = []
        while records:
            sent = self._sent(where, records)
            offsets += range(sent.base_offset, sent.base_offset + sent.taken)
            records = records[sent.taken :]
        return offsets

    def _sent(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        owner = self._claimed()
        try:
            sent = self._broker.write(owner, where, records)
        except TopicUnavailable as error:
            raise NotCommitted(Fate.REFUSED, str(error)) from error
        if sent.verdict is not Verdict.WRITTEN:
            raise NotCommitted(_FATES[sent.verdict], sent.reason)
        return sent

    def _claimed(self) -> Owner:
        if self._owner is None or self._failed:
            raise NotCommitted(Fate.FAILED, "this producer is over: the id must be claimed with a new one")
        return self._owner

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except NotCommitted:
            self._failed = True
            raise

    async def _turn(self) -> None:
        """A turn for others, as any answer over a wire would give them."""
        await asyncio.sleep(0)
        if self._broker.is_down:
            self._failed = True
            raise NotCommitted(Fate.FAILED, "the memory broker is down")
