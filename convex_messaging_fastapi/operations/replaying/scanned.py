"""Letters and states as scans find them: what the replayer reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import LettersUnavailable, TransportError
from convex_messaging_fastapi.operations.filtering import Filter
from convex_messaging_fastapi.operations.known_states import read_histories
from convex_messaging_fastapi.operations.letters import letter_of
from convex_messaging_fastapi.operations.replaying.choosing import Choice, Chosen, Ends
from convex_messaging_fastapi.operations.replaying.jobs import Job, job_of
from convex_messaging_fastapi.operations.replaying.source import Known
from convex_messaging_fastapi.operations.retention import Retention
from convex_messaging_fastapi.operations.scanning import Scan, Scanner
from convex_messaging_fastapi.operations.selecting import Selector, selected
from convex_messaging_fastapi.operations.states import StateOfLetter, place_of_key
from convex_messaging_fastapi.operations.values import Letter, LetterPlace
from convex_messaging_fastapi.parts import Parts
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import LogRange, LogReader


class ScannedLetters:
    """Implements `LetterSource`."""

    def __init__(self, parts: Parts, scanner: Scanner, logs: LogReader, retention: Retention) -> None:
        self._scanner, self._logs, self._retention = scanner, logs, retention
        self._clock: Clock = parts.clock
        self._prefix = parts.settings.topic_prefix
        self._own_topic = parts.naming.dead_letters
        self._states = parts.naming.dead_letter_states

    async def known(self) -> Known:
        jobs: dict[str, Job] = {}
        places: set[tuple[str, int, int]] = set()
        try:
            async with aclosing(self._logs.read(await self._logs.ranges(self._states))) as lists:
                async for records in lists:
                    for record in records:
                        _learn(record, jobs, places)
                    await asyncio.sleep(0)
            begins = await self._begins({topic for topic, _, _ in places})
        except TransportError as error:
            raise LettersUnavailable(f"{self._states} cannot be read: {error}") from error
        gone = [LetterPlace(*place, -1) for place in sorted(places) if place[2] < begins.get(place[:2], 0)]
        return Known(jobs, gone)

    async def choose(self, wanted: Filter, ends: Ends | None = None) -> Choice:
        self._scanner.forget()
        scan = await self._scanner.fresh(wanted.text)
        if scan.states.problem:
            raise LettersUnavailable(
                f"{self._states} cannot be read: {scan.states.problem}"
            ) from scan.states.error
        retention_ms = await self._retention.milliseconds()
        now_ms = self._clock.unix() * 1000
        selector = Selector(wanted, scan, self._own_topic, self._prefix, retention_ms, now_ms)
        rows = [
            row
            for row in await selected(selector, scan)
            if ends is None or scan.rows.offset[row] < ends.get(scan.rows.where(row), 0)
        ]
        return Choice(await self._chosen(scan, rows), scan.ends)

    async def whole(self, chosen: Sequence[Chosen]) -> AsyncGenerator[Sequence[Letter], None]:
        wanted = {each.place for each in chosen}
        spans: dict[TopicPartition, LogRange] = {}
        for topic, partition, offset, _ in wanted:
            where = TopicPartition(topic, partition)
            first, end = spans.get(where, LogRange(offset, offset + 1))
            spans[where] = LogRange(min(first, offset), max(end, offset + 1))
        try:
            async with aclosing(self._logs.read(spans)) as lists:
                async for records in lists:
                    letters = [await self._letter(record) for record in records if _place(record) in wanted]
                    if letters:
                        yield letters
                    await asyncio.sleep(0)
        except TransportError as error:
            raise LettersUnavailable(f"dead letters cannot be read: {error}") from error

    async def _letter(self, record: Record) -> Letter:
        return letter_of(record, await self._scanner.told(record), self._own_topic, whole=True)

    async def _chosen(self, scan: Scan, rows: Sequence[int]) -> list[Chosen]:
        """With what was done to each before, where anything was."""
        places = [scan.rows.place(row) for row in rows]
        kept = [scan.states.of(place) for place in places]
        before: Mapping[tuple[int, int], StateOfLetter] = {}
        if known := [each for each in kept if each is not None]:
            before = await read_histories(self._logs, self._states, known)
        return [
            Chosen(
                place,
                scan.groups[scan.rows.group[row]].key.group,
                None if state is None else before.get((state.partition, state.at)),
            )
            for row, place, state in zip(rows, places, kept, strict=True)
        ]

    async def _begins(self, topics: set[str]) -> dict[tuple[str, int], int]:
        begins: dict[tuple[str, int], int] = {}
        for topic in topics:
            there = await self._logs.ranges(topic)
            begins |= {(topic, partition): first for (_, partition), (first, _) in there.items()}
        return begins


def _learn(record: Record, jobs: dict[str, Job], places: set[tuple[str, int, int]]) -> None:
    if (place := place_of_key(record.key)) is not None:
        (places.discard if record.value is None else places.add)(place)
    elif (job := job_of(record)) is not None:
        jobs[job.id] = job


def _place(record: Record) -> LetterPlace:
    return LetterPlace(record.topic, record.partition, record.offset, record.timestamp_ms)
