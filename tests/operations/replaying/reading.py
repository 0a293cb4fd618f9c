"""Letters of this package alone, read as simply as can be: what the replayer is tried on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from itertools import groupby

from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.messages import DeadLetterMessage
from convex_messaging_fastapi.messages.headers import MESSAGE_ID
from convex_messaging_fastapi.operations.filtering import Filter
from convex_messaging_fastapi.operations.replaying.choosing import Choice, Chosen, Ends
from convex_messaging_fastapi.operations.replaying.jobs import Job, job_of
from convex_messaging_fastapi.operations.replaying.source import Known
from convex_messaging_fastapi.operations.states import StateOfLetter, place_of_key, state_of
from convex_messaging_fastapi.operations.values import Letter, LetterPlace, Origin
from convex_messaging_fastapi.records import Record, TopicPartition, header_text
from convex_messaging_fastapi.transport.base import LogRange, LogReader


class PlainSource:
    """Implements `LetterSource`: every letter of one topic, of which duplicates are left out."""

    def __init__(self, logs: LogReader, dead_letters: str, states: str) -> None:
        self._logs, self._dead_letters, self._states = logs, dead_letters, states

    async def states(self) -> dict[LetterPlace, StateOfLetter]:
        return (await self._read())[0]

    async def known(self) -> Known:
        letters, jobs = await self._read()
        there = await self._logs.ranges(self._dead_letters)
        return Known(jobs, [place for place in letters if place.offset < _begin(there, place)])

    async def _read(self) -> tuple[dict[LetterPlace, StateOfLetter], dict[str, Job]]:
        letters: dict[LetterPlace, StateOfLetter] = {}
        jobs: dict[str, Job] = {}
        async for records in self._logs.read(await self._logs.ranges(self._states)):
            for record in records:
                if isinstance(state := state_of(record), StateOfLetter):
                    letters[state.place] = state
                elif record.value is None and (where := place_of_key(record.key)) is not None:
                    letters = {place: state for place, state in letters.items() if place[:3] != where}
                elif (job := job_of(record)) is not None:
                    jobs[job.id] = job
        return letters, jobs

    async def choose(self, wanted: Filter, ends: Ends | None = None) -> Choice:
        states = await self.states()
        there = await self._logs.ranges(self._dead_letters)
        if ends is not None:
            there = {
                where: LogRange(first, min(end, ends.get(where, 0))) for where, (first, end) in there.items()
            }
        chosen: list[Chosen] = []
        seen: set[str | None] = set()
        async for records in self._logs.read(there):
            for record in records:
                place = _place(record)
                id = header_text(record.headers, MESSAGE_ID)
                before = states.get(place)
                if id in seen:
                    continue
                seen.add(id)
                letter = letter_of(record)
                if wanted.group not in (None, letter.group) or (wanted.ids and letter.id not in wanted.ids):
                    continue
                if wanted.state == "all" or before is None or before.state == wanted.state:
                    chosen.append(Chosen(place, letter.group, before))
        chosen.sort(key=lambda each: each.place)
        return Choice(chosen, {where: end for where, (_, end) in there.items()})

    async def whole(self, chosen: Sequence[Chosen]) -> AsyncGenerator[Sequence[Letter], None]:
        for _, group in groupby(chosen, key=lambda each: each.place[:2]):
            some = list(group)
            wanted = {each.place.offset for each in some}
            where = TopicPartition(*some[0].place[:2])
            span = LogRange(some[0].place.offset, some[-1].place.offset + 1)
            async for records in self._logs.read({where: span}):
                if found := [letter_of(record) for record in records if record.offset in wanted]:
                    yield found


def letter_of(record: Record) -> Letter:
    told = DeadLetterMessage.model_validate_json(record.value or b"")
    try:
        value, key, headers = told.original_value(), told.original_key(), told.original_headers()
        omitted = False
    except DecodeError:
        value, key, headers, omitted = None, None, (), True
    return Letter(
        id=f"{record.partition}/{record.offset}",
        kind="convex",
        place=_place(record),
        group_id="0" * 10,
        origin=Origin(
            told.original_topic, told.original_partition, told.original_offset, told.original_timestamp
        ),
        group=told.consumer_group or "-",
        handler=told.handler or "-",
        error=told.error_message,
        replay_count=told.replay_count,
        failed_at=told.failed_at,
        message_id=told.message_id,
        size=len(record.value or b""),
        key=key,
        value=value,
        headers=headers,
        is_whole=True,
        omitted=("value",) if omitted else (),
    )


def _place(record: Record) -> LetterPlace:
    return LetterPlace(record.topic, record.partition, record.offset, record.timestamp_ms)


def _begin(there: object, place: LetterPlace) -> int:
    assert isinstance(there, dict)
    span = there.get(TopicPartition(place.topic, place.partition))
    return 0 if span is None else int(span.first)
