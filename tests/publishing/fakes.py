"""A producer whose log is a list, whose verdicts are scripted, and whose answers wait for a gate."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords, TopicPartition, size_of
from convex_messaging_fastapi.transport.base import Contact, Problem, Sent, Verdict

TIMESTAMP_MS = 1_767_225_600_000


class FakeProducer:
    """Writes everything at once unless told otherwise.

    `script` holds the verdicts of the next sends; `lands` says whether an UNKNOWN send is in the
    log after all. A batch that holds the value `poison` is never taken. Clear `gate` to hold the
    answers back: `entered` is set once a send waits. With `at_once` it takes a record that comes
    alone without a turn of the loop, and counts it in `alone`.
    """

    def __init__(self, partitions: int = 4, fits: int = 1_000_000) -> None:
        self.partitions: int | None = partitions
        self.fits = fits
        self.log: dict[TopicPartition, list[OutgoingRecord]] = defaultdict(list)
        self.script: deque[Verdict | BaseException] = deque()
        self.lands = False
        self.poison: bytes | None = None
        self.offers: list[tuple[TopicPartition, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.counting = asyncio.Event()
        self.counting.set()
        self.counted = 0
        self.problem: Problem | None = None
        self.complaints: dict[TopicPartition, str] = {}
        self.running = False
        self.stopped_with: float | None = None
        self.sending: set[TopicPartition] = set()
        self.at_once = False
        self.alone = 0
        self._writing: list[asyncio.Future[Sent]] = []

    async def start(self) -> None:
        self.running = True

    async def partition_count(self, topic: str) -> int:
        self.counted += 1
        await self.counting.wait()
        if self.partitions is None:
            raise TopicUnavailable(f"the cluster has no topic {topic!r}")
        return self.partitions

    async def send(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        assert where not in self.sending, "two sends to one partition at a time"
        assert records
        self.sending.add(where)
        try:
            return await self._send(where, records)
        finally:
            self.sending.discard(where)

    def send_now(
        self, where: TopicPartition, record: OutgoingRecord, answered: Callable[[Sent], None]
    ) -> bool:
        """Only where `at_once` says so; then the answer is what `send` would have said."""
        if not self.at_once:
            return False
        self.alone += 1
        writing = asyncio.ensure_future(self.send(where, [record]))
        writing.add_done_callback(lambda written: answered(_answer(written)))
        self._writing.append(writing)
        return True

    async def _send(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        self.offers.append((where, len(records)))
        self.entered.set()
        await self.gate.wait()
        verdict = self.script.popleft() if self.script else Verdict.WRITTEN
        if isinstance(verdict, BaseException):
            raise verdict
        taken = list(records[: self.fits])
        if any(record.value == self.poison for record in taken if self.poison):
            verdict = Verdict.UNKNOWN
        base = len(self.log[where])
        if verdict is Verdict.WRITTEN or (verdict is Verdict.UNKNOWN and self.lands):
            self.log[where].extend(taken)
        if verdict is Verdict.WRITTEN:
            return Sent(len(taken), verdict, base, TIMESTAMP_MS)
        return Sent(len(taken), verdict, reason=f"SCRIPTED_{verdict.name}")

    def complaint(self, where: TopicPartition) -> str:
        return self.complaints.get(where, "")

    async def stop(self, deadline: float) -> None:
        self.running = False
        self.stopped_with = deadline
        for writing in self._writing:
            writing.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)

    def contact(self) -> Contact:
        return Contact(last=0.0 if self.running else None, member=True, problem=self.problem)

    def values(self, topic: str) -> list[bytes | None]:
        return [record.value for where, log in self.log.items() if where.topic == topic for record in log]


def _answer(written: asyncio.Future[Sent]) -> Sent:
    if written.cancelled() or written.exception() is not None:
        return Sent(1, Verdict.UNKNOWN, reason="scripted to be raised")
    return written.result()


def listed(records: Sequence[OutgoingRecord]) -> OutgoingRecords:
    """The same records as those of one call."""
    sizes = [size_of(record) for record in records]
    return OutgoingRecords([record.key for record in records], sizes, records.__getitem__)


async def until(condition: Callable[[], object]) -> None:
    """Turn the loop until `condition()` holds; no time passes, so a bounded number of turns decides."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the loop ran dry before the condition held")


def record(value: str | int, key: bytes | None = b"k") -> OutgoingRecord:
    return OutgoingRecord(key, str(value).encode())
