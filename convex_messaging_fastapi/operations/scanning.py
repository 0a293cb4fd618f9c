"""Reads the dead-letter topics from begin to end: no index is kept, for a scan of 100,000 takes a second.

One scan at a time runs on an event loop, in turns that leave the loop to handlers. Whoever asks for the same
meanwhile, or in the five seconds after it, is given the same answer.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.decode_thread import DecodeThread
from convex_messaging_fastapi.errors import LettersUnavailable, TransportError
from convex_messaging_fastapi.operations.found import Found, FoundGroup
from convex_messaging_fastapi.operations.known_states import KnownStates, read_states
from convex_messaging_fastapi.operations.letters import (
    Told,
    is_quickly_told,
    told_of,
)
from convex_messaging_fastapi.operations.resolving import Links, resolve
from convex_messaging_fastapi.operations.rows import Rows
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import LogRange, LogReader

TURN_BYTES = 512 * 1024
"""Bytes of letters that are looked at in one turn of the loop: a few milliseconds."""

TURN_SECONDS = 0.005
"""After so long a turn ends in any case, on a machine that has other things to do."""

SHARED_SECONDS = 5.0

Ranges = Mapping[TopicPartition, LogRange]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of the topics is looked at: the newest `letters`, for at most so many `seconds`."""

    letters: float
    seconds: float


FOR_LISTINGS = Limits(200_000, 10.0)
FOR_ACTIONS = Limits(float("inf"), float("inf"))


@dataclass(frozen=True, slots=True)
class Scan:
    """All letters as they stood when it was made, in rows, and what is known of them.

    `ends` says where each partition ended then. `truncated` says what was not looked at.
    """

    rows: Rows
    groups: Sequence[FoundGroup]
    links: Links
    states: KnownStates
    ends: Mapping[TopicPartition, int]
    scanned: int
    truncated: str


class Scanner:
    """Scans these dead-letter topics, and reads again what a scan has found."""

    def __init__(self, reader: LogReader, clock: Clock, topics: Sequence[str], state_topic: str) -> None:
        self._reader, self._clock = reader, clock
        self._topics, self._state_topic = topics, state_topic
        self._threads = DecodeThread()
        self._under_way: dict[str | None, _Shared] = {}
        self._latest: tuple[str | None, Scan] | None = None

    async def scan(self, text: str | None = None) -> Scan:
        """For listings, at most five seconds old. Raises `LettersUnavailable`."""
        if self._latest is not None and self._latest[0] == text:
            return self._latest[1]
        shared = self._under_way.get(text)
        if shared is None or shared.given_up:
            shared = _Shared(asyncio.ensure_future(self.fresh(text, FOR_LISTINGS)))
            self._under_way[text] = shared
            shared.task.add_done_callback(partial(self._keep, text, shared))
        return await shared.result()

    async def fresh(self, text: str | None = None, limits: Limits = FOR_ACTIONS) -> Scan:
        """One of its own: whoever acts on letters must not act on what they were five seconds ago."""
        async with _turns():
            try:
                return await self._scan(text, limits)
            except TransportError as error:
                raise LettersUnavailable(
                    f"dead letters cannot be read: {error}. Whoever lists them needs Read on "
                    f"{', '.join(self._topics)}"
                ) from error

    def forget(self) -> None:
        """The next scan is made anew: something was done to letters."""
        self._latest = None

    async def records(self, rows: Rows, wanted: Iterable[int]) -> AsyncGenerator[tuple[int, Record], None]:
        """The records of these rows, in the order of their offsets; those that are gone are left out.

        Raises `LettersUnavailable`. Whoever leaves it early closes it (`aclosing`).
        """
        by_partition: dict[TopicPartition, list[tuple[int, int]]] = {}
        for row in wanted:
            by_partition.setdefault(rows.where(row), []).append((rows.offset[row], row))
        for places in by_partition.values():
            places.sort()
        spans = {where: LogRange(places[0][0], places[-1][0] + 1) for where, places in by_partition.items()}
        try:
            async with aclosing(self._reader.read(spans)) as lists:
                async for records in lists:
                    places = by_partition[records[0].topic_partition]
                    for record in records:
                        at = bisect_left(places, (record.offset, -1))
                        if at < len(places) and places[at][0] == record.offset:
                            yield places[at][1], record
                    await asyncio.sleep(0)
        except TransportError as error:
            raise LettersUnavailable(f"dead letters cannot be read: {error}") from error

    async def told(self, record: Record) -> Told:
        """What a record tells, without holding up the loop where that takes long."""
        if is_quickly_told(record):
            return told_of(record)
        told: Told = await self._threads.read(lambda _: told_of(record), b"")
        return told

    async def _scan(self, text: str | None, limits: Limits) -> Scan:
        there: dict[TopicPartition, LogRange] = {}
        for topic in self._topics:
            there |= await self._reader.ranges(topic)
        states = await read_states(self._reader, self._state_topic)
        found = Found(states, text)
        newest = _newest(there, limits.letters)
        late = await self._read(newest, found, self._clock.now() + limits.seconds)
        links = await resolve(found, states, self._reader)
        ends = {where: span.end for where, span in there.items()}
        return Scan(
            found.rows,
            found.groups,
            links,
            states,
            ends,
            len(found.rows),
            _left_out(there, newest, found, late),
        )

    async def _read(self, ranges: Ranges, found: Found, give_up: float) -> bool:
        """Whether it took too long, so that the rest is left out."""
        now = self._clock.now
        spent, pause_at = 0, now() + TURN_SECONDS
        async with aclosing(self._reader.read(ranges)) as lists:
            async for records in lists:
                found.begin(records[0].topic_partition)
                for record in records:
                    if found.takes_at_a_glance(record):
                        continue
                    found.take(record, await self.told(record))
                    spent += len(record.value or b"") + _EACH_BYTES
                    if spent > TURN_BYTES or now() >= pause_at:
                        await asyncio.sleep(0)
                        spent, pause_at = 0, now() + TURN_SECONDS
                await asyncio.sleep(0)
                spent, pause_at = 0, now() + TURN_SECONDS
                if now() >= give_up:
                    return True
        return False

    def _keep(self, text: str | None, shared: _Shared, task: asyncio.Future[Scan]) -> None:
        if self._under_way.get(text) is shared:
            del self._under_way[text]
        if task.cancelled() or task.exception() is not None:
            return
        latest = self._latest = text, task.result()
        self._clock.look_later(SHARED_SECONDS, lambda: self._let_go(latest))

    def _let_go(self, latest: tuple[str | None, Scan]) -> None:
        if self._latest is latest:
            self._latest = None


_EACH_BYTES = 2000
"""A small letter takes time too, whatever its size."""


class _Shared:
    """A scan that several wait for; it is cancelled with the last of them."""

    def __init__(self, task: asyncio.Future[Scan]) -> None:
        self.task = task
        self.given_up = False
        self._waiting = 0

    async def result(self) -> Scan:
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self.task.done():
                self.given_up = True
                self.task.cancel()


_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def _turns() -> asyncio.Lock:
    """Held while a scan runs: two side by side would take twice the memory, and not end sooner."""
    loop = asyncio.get_running_loop()
    if (scan_turn := _locks.get(loop)) is None:
        scan_turn = asyncio.Lock()
        _locks[loop] = scan_turn
    return scan_turn


def _newest(there: Ranges, most: float) -> Ranges:
    """The newest so many: of each partition its share."""
    total = sum(end - first for first, end in there.values())
    if total <= most:
        return there
    return {
        where: LogRange(end - int((end - first) * most / total), end) for where, (first, end) in there.items()
    }


def _left_out(there: Ranges, read: Ranges, found: Found, late: bool) -> str:
    total = sum(end - first for first, end in there.values())
    if late:
        return f"{len(found.rows)} of {total} letters were looked at: it took too long"
    if read is there:
        return ""
    return f"the newest {sum(end - first for first, end in read.values())} of {total} letters were looked at"
