"""The replayer where transactions fail, groups stand still, and letters do not fit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import ReplayFenced, ReplayRefused
from convex_messaging_fastapi.messages.copies import read_copy
from convex_messaging_fastapi.operations.filtering import Filter
from convex_messaging_fastapi.operations.replaying.actions import Actions, Asked
from convex_messaging_fastapi.operations.replaying.jobs import Job, job_of, record_of_job
from convex_messaging_fastapi.operations.replaying.replayer import transactional_id
from convex_messaging_fastapi.operations.replaying.source import Known
from convex_messaging_fastapi.operations.states import place_of_key
from convex_messaging_fastapi.operations.values import LetterPlace
from convex_messaging_fastapi.parts import parts_for
from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.base import NewTopic, Position
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport
from convex_messaging_fastapi.transport.memory.transactional import MemoryTransactional
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted
from tests.operations.replaying.reading import PlainSource
from tests.promises.test_replaying import letter

GROUP = "billing"
REPLAYS = "convex.billing.replay"
DEAD_LETTERS, STATES = "convex.dlq", "convex.dlq.state"
FAST = 100_000.0
TURNS = 5_000


class Accidents:
    """What goes wrong, once each: `steps` are `write` and `commit`, counted from 0 since the job began.

    `before` or after the step itself.
    """

    def __init__(self) -> None:
        self.planned: dict[tuple[str, int], tuple[str, Fate]] = {}
        self.steps: Counter[str] = Counter()

    def look(self, step: str, when: str) -> None:
        planned = self.planned.get((step, self.steps[step]))
        if planned is not None and planned[0] == when:
            del self.planned[step, self.steps[step]]
            raise NotCommitted(planned[1], "as planned")


class Unlucky(MemoryTransactional):
    accidents: Accidents

    async def write(
        self, records: Mapping[TopicPartition, Sequence[OutgoingRecord]]
    ) -> Mapping[TopicPartition, Sequence[int]]:
        self.accidents.look("write", "before")
        written = await super().write(records)
        self.accidents.look("write", "after")
        self.accidents.steps["write"] += 1
        return written

    async def commit(self) -> None:
        self.accidents.look("commit", "before")
        await super().commit()
        self.accidents.look("commit", "after")
        self.accidents.steps["commit"] += 1


class UnluckyTransport(MemoryTransport):
    accidents: Accidents

    def transactional(self, id: str, timeout_seconds: float) -> MemoryTransactional:
        made = Unlucky(self._broker, id, timeout_seconds)
        made.accidents = self.accidents
        return made


class Source(PlainSource):
    gone: Sequence[LetterPlace] = ()

    async def known(self) -> Known:
        return replace(await super().known(), gone=self.gone)


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock)
        self.accidents = Accidents()
        transport = UnluckyTransport(self.broker)
        transport.accidents = self.accidents
        self.parts = parts_for(MessagingSettings(bootstrap_servers="memory://"), transport, self.clock)
        self.source = Source(transport.log_reader(), DEAD_LETTERS, STATES)
        self.actions = Actions(self.parts, self.source, dict)
        for topic in (NewTopic(DEAD_LETTERS, 1), NewTopic("convex.payments", 3)):
            self.broker.ensure(topic)
        with self.broker.group(GROUP) as group:
            group.offsets[TopicPartition("convex.payments", 0)] = Position(0)

    def write(self, *letters: OutgoingRecord) -> None:
        left: Sequence[OutgoingRecord] = letters
        while left:
            left = left[self.broker.append(TopicPartition(DEAD_LETTERS, 0), left).taken :]

    def letters(self, count: int) -> None:
        self.write(*(letter("convex.payments", number, GROUP) for number in range(count)))

    async def replay(self, rate: float = FAST, **options: Any) -> Job:
        asked = Asked("ada", rate, anyway=True, dry_run=False, **options)
        begun = await self.actions.replay(Filter(), asked)
        return await self.over(begun)

    async def over(self, begun: Job) -> Job:
        waiting = asyncio.ensure_future(self.actions.wait_for(begun.id))
        for _ in range(TURNS):
            if waiting.done():
                return await waiting
            for _ in range(30):
                await asyncio.sleep(0)
            self.clock.advance(0.1)
            self.at_every_turn()
        raise TimeoutError(f"it goes on: {self.actions.job(begun.id)}")

    def at_every_turn(self) -> None: ...

    def copies(self) -> list[Record]:
        return self.broker.records(REPLAYS)

    def copied(self) -> Counter[bytes | None]:
        return Counter(copy.value for copy in self.copies())


@pytest.fixture
async def scene() -> Scene:
    return Scene()


STEPS = [
    ("write", number, when, fate)
    for number in (2, 3, 4)
    for when, fate in (("before", Fate.FAILED), ("after", Fate.FAILED))
] + [
    ("commit", number, when, fate)
    for number in (1, 2)
    for when, fate in (
        ("before", Fate.FAILED),
        ("before", Fate.UNKNOWN),
        ("after", Fate.UNKNOWN),
    )
]


@pytest.mark.parametrize(("step", "number", "when", "fate"), STEPS)
async def test_whatever_becomes_of_a_transaction_each_letter_is_copied_once(
    scene: Scene, step: str, number: int, when: str, fate: Fate
) -> None:
    scene.letters(40)
    scene.accidents.planned[step, number] = (when, fate)
    job = await scene.replay(rate=100)
    assert scene.accidents.planned == {}, "it happened"
    assert (job.status, set(scene.copied().values()), len(scene.copied())) == ("done", {1}, 40)
    assert len(await scene.source.states()) == 40


class Fenced(Scene):
    """Once copies are made somebody claims the id, and says a second later why."""

    turns = 0

    def at_every_turn(self) -> None:
        if not self.copies():
            return
        self.turns += 1
        if self.turns == 1:
            self.broker.claim(transactional_id(DEAD_LETTERS, GROUP))
        if self.turns == 11:
            found = (job_of(record) for record in reversed(self.broker.records(STATES)))
            stopped = replace(next(filter(None, found)), status="stopped", error="stopped by bob")
            self.broker.append(TopicPartition(STATES, 0), [record_of_job(stopped)])


async def test_one_that_is_fenced_waits_for_the_word_of_whoever_did_it() -> None:
    fenced = Fenced()
    fenced.letters(40)
    begun = await fenced.actions.replay(Filter(), Asked("ada", 2.0, anyway=True, dry_run=False))
    with pytest.raises(ReplayFenced, match="stopped by bob"):
        await fenced.over(begun)
    job = fenced.actions.job(begun.id)
    assert job is not None
    assert (job.status, job.error, fenced.turns > 10) == ("stopped", "stopped by bob", True)


async def test_a_right_that_is_withdrawn_amid_it_ends_it(scene: Scene) -> None:
    scene.letters(4)
    scene.accidents.planned["write", 2] = ("before", Fate.REFUSED)
    job = await scene.replay()
    assert (job.status, job.error, scene.copies()) == ("failed", "as planned", [])


async def test_what_may_not_be_written_is_told_before_anything_begins(scene: Scene) -> None:
    scene.letters(4)
    scene.accidents.planned["write", 0] = ("before", Fate.REFUSED)
    with pytest.raises(ReplayRefused) as refused:
        await scene.replay()
    assert refused.value.reason == "target_unwritable"
    assert (scene.copies(), scene.broker.records(STATES)) == ([], [])


async def test_of_a_group_that_stands_still_no_more_than_250_are_out(scene: Scene) -> None:
    scene.letters(400)
    job = await scene.replay(rate=10)
    assert (job.status, "nobody handles them" in job.error) == ("stopped", True)
    assert 200 < len(scene.copies()) <= 250
    assert len(await scene.source.states()) == len(scene.copies())


class Failing(Scene):
    """Its group buries every copy again, and commits."""

    def at_every_turn(self) -> None:
        copies = self.copies()
        done = self.broker.committed(GROUP)
        for copy in copies:
            at = done.get(copy.topic_partition, Position(0)).offset
            if copy.offset >= at:
                original = read_copy(copy).original
                again = letter(original.topic, original.offset, GROUP)
                value = (again.value or b"").replace(
                    b'"OriginalHeaders":[', b'"OriginalHeaders":[' + _told(original) + b","
                )
                self.write(
                    again._replace(value=value, headers=(("message-id", b"again-%d" % original.offset),))
                )
                with self.broker.group(GROUP) as group:
                    group.offsets[copy.topic_partition] = Position(copy.offset + 1)


def _told(original: Record) -> bytes:
    """The headers of ours that a handler saw, as the next letter tells them."""
    told = [
        b'{"Name":"%s","Value":"%s"}' % (name.encode(), value)
        for name, value in original.headers
        if name.startswith("x-convex-") and value is not None
    ]
    return b",".join(told)


async def test_when_they_fail_again_it_stops_by_itself(scene: Scene) -> None:
    failing = Failing()
    failing.letters(400)
    job = await failing.replay(rate=50)
    assert (job.status, "they fail again" in job.error) == ("stopped", True)
    assert len(failing.copies()) <= 250
    assert job.failed_again > 10


async def test_one_that_is_too_large_is_left_and_the_others_go(scene: Scene) -> None:
    scene.broker.ensure(NewTopic(REPLAYS, 3, config={"max.message.bytes": "2000"}))
    scene.letters(4)
    large = letter("convex.payments", 4, GROUP)
    value = (large.value or b"").replace(b'"v4"', b'"' + b"v" * 3000 + b'"')
    scene.write(large._replace(value=value))
    job = await scene.replay()
    assert (job.status, job.done, job.refused) == ("done", 4, {"too_large": 1})
    assert set(scene.copied().values()) == {1}


async def test_one_of_which_only_its_topic_knows_that_it_is_too_large_is_found_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_told(topic: str) -> None:
        return None

    monkeypatch.setattr(scene.parts.admin, "largest_message", not_told)
    await test_one_that_is_too_large_is_left_and_the_others_go(scene)


async def test_states_of_letters_that_are_gone_are_forgotten_a_thousand_a_job(scene: Scene) -> None:
    scene.letters(2)
    scene.source.gone = [LetterPlace(DEAD_LETTERS, 7, offset, 1) for offset in range(1500)]
    await scene.replay()
    nulls = [record for record in scene.broker.records(STATES) if record.value is None]
    assert len(nulls) == 1000
    assert {(place_of_key(record.key) or ("", 0, 0))[1] for record in nulls} == {7}


async def test_a_limit_is_of_letters_that_were_looked_at(scene: Scene) -> None:
    scene.letters(10)
    job = await scene.replay(limit=4)
    assert (job.selected, job.done, len(scene.copies())) == (4, 4, 4)
    assert (await scene.replay()).done == 6


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
async def test_a_rate_is_more_than_nothing(scene: Scene, rate: float) -> None:
    with pytest.raises(Exception, match="letters a second"):
        await scene.replay(rate=rate)
