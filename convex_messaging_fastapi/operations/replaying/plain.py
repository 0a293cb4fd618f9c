"""Writes without transactions, where a cluster forbids them: copies first, then their states.

What is written is there at once, whatever comes after: a copy may be made again after a crash between the
two, with the same `message-id`. Nobody is fenced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import ProducerTransport, Verdict
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted

_FATES = {
    Verdict.TOO_LARGE: Fate.TOO_LARGE,
    Verdict.REFUSED: Fate.REFUSED,
    Verdict.FAILED: Fate.FAILED,
    Verdict.UNKNOWN: Fate.UNKNOWN,
}


class WithoutTransactions:
    """Implements `TransactionalProducer` as far as it goes."""

    def __init__(self, producer: ProducerTransport) -> None:
        self._producer = producer

    async def claim(self) -> None:
        await self._producer.start()

    async def write(
        self, records: Mapping[TopicPartition, Sequence[OutgoingRecord]]
    ) -> Mapping[TopicPartition, Sequence[int]]:
        return {where: await self._write(where, some) for where, some in records.items()}

    async def commit(self) -> None: ...

    async def abort(self) -> None: ...

    async def stop(self, deadline: float) -> None:
        await self._producer.stop(deadline)

    async def _write(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> list[int]:
        offsets: list[int] = []
        while records:
            sent = await self._producer.send(where, records)
            if sent.verdict is not Verdict.WRITTEN:
                raise NotCommitted(_FATES[sent.verdict], sent.reason)
            offsets += range(sent.base_offset, sent.base_offset + sent.taken)
            records = records[sent.taken :]
        return offsets
