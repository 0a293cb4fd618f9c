"""What operators did to letters, read from the state topic whenever letters are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing

from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.operations.states import (
    Copy,
    Kept,
    StateOfLetter,
    kept_of,
    place_of_key,
    state_of,
)
from convex_messaging_fastapi.operations.values import LetterPlace
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import LogRange, LogReader


class KnownStates:
    """The latest state of each letter that has one. `error` is why none can be read, if so."""

    def __init__(self, error: TransportError | None = None) -> None:
        self.error: TransportError | None = error
        self.problem: str = "" if error is None else str(error)
        self._kept: dict[TopicPartition, dict[int, Kept]] = {}
        self._names: dict[str, str] = {}

    def take(self, record: Record) -> None:
        """Learn from one record of the state topic; one about no letter is passed over."""
        if (place := place_of_key(record.key)) is None:
            return
        topic, partition, offset = place
        of_partition = self._kept.setdefault(TopicPartition(topic, partition), {})
        if record.value is None:
            of_partition.pop(offset, None)
            return
        of_partition[offset] = self._sharing_names(kept_of(record))

    def of(self, place: LetterPlace) -> Kept | None:
        """What is kept of exactly this letter, not of one that stood there before."""
        kept = self._kept.get(TopicPartition(place.topic, place.partition), _NONE).get(place.offset)
        return kept if kept is not None and kept.is_about(place.timestamp_ms) else None

    def of_partition(self, where: TopicPartition) -> Mapping[int, Kept]:
        """By the letters' offsets."""
        return self._kept.get(where, _NONE)

    def _sharing_names(self, kept: Kept) -> Kept:
        """A job of fifty thousand letters has one id, one group and one target: each is held once."""
        share = self._names.setdefault
        copy, job = kept.copy, kept.job
        if copy is not None:
            copy = Copy(
                share(copy.group, copy.group), share(copy.topic, copy.topic), copy.partition, copy.offset
            )
        return kept._replace(copy=copy, job=None if job is None else share(job, job))


_NONE: Mapping[int, Kept] = {}


async def read_states(reader: LogReader, topic: str) -> KnownStates:
    """All of them; where the topic cannot be read the answer says why, and has none."""
    known = KnownStates()
    try:
        async with aclosing(reader.read(await reader.ranges(topic))) as lists:
            async for records in lists:
                for record in records:
                    known.take(record)
                await asyncio.sleep(0)
    except TransportError as error:
        return KnownStates(error)
    return known


async def read_histories(
    reader: LogReader, topic: str, kept: Iterable[Kept]
) -> Mapping[tuple[int, int], StateOfLetter]:
    """The whole states of these, by partition and offset in the state topic; what is gone is left out."""
    wanted: dict[TopicPartition, set[int]] = {}
    for each in kept:
        wanted.setdefault(TopicPartition(topic, each.partition), set()).add(each.at)
    spans = {where: LogRange(min(offsets), max(offsets) + 1) for where, offsets in wanted.items()}
    found: dict[tuple[int, int], StateOfLetter] = {}
    async with aclosing(reader.read(spans)) as lists:
        async for records in lists:
            offsets = wanted[records[0].topic_partition]
            for record in records:
                if record.offset in offsets and isinstance(state := state_of(record), StateOfLetter):
                    found[record.partition, record.offset] = state
            await asyncio.sleep(0)
    return found
