"""A replay is exact: one copy a letter and its state, whoever dies, takes over, or runs it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from convex_messaging_fastapi.consuming.dead_letters.building import build_dead_letter
from convex_messaging_fastapi.errors import ReplayFenced, ReplayRefused
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.messages.copies import read_copy
from convex_messaging_fastapi.operations import Filter, Job, Operations
from convex_messaging_fastapi.operations.states import StateOfLetter
from convex_messaging_fastapi.parts import Parts, parts_for
from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.base import NewTopic, Position
from tests.operations.replaying.reading import PlainSource
from tests.promises.stage import SECONDS, Member, Stage
from tests.promises.test_log_reader import read
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("topics_are_soon_found")

COUNT = 30
FAST = 100_000.0
SLOW = 2.0
"""Letters a second: they last for as long as whoever comes second may take."""
WRITTEN_AT = 1_700_000_000_000


class Scene:
    """A bus's topics in one prefix, letters of a group `billing`, and operators that act on them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.prefix = stage.new_name().replace("_", "-")
        self.parts: Parts = self._parts()
        self.naming = self.parts.naming
        self.group = f"{self.prefix}.billing"
        self.replay_topic = self.naming.replay(self.group)
        self.payments = f"{self.prefix}.payments"
        self._operators: list[Operations] = []

    def _parts(self) -> Parts:
        settings = MessagingSettings(bootstrap_servers="memory://", topic_prefix=self.prefix)
        return parts_for(settings, self.stage.transport(), self.stage.clock)

    def operator(self) -> Operations:
        made = Operations(self._parts())
        self._operators.append(made)
        return made

    async def open(self) -> None:
        admin = self.parts.admin
        await admin.ensure_topic(NewTopic(self.naming.dead_letters, 2))
        await admin.ensure_topic(NewTopic(self.payments, 3))

    async def close(self) -> None:
        for operator in self._operators:
            await operator.stop()

    async def letters(
        self, count: int = COUNT, *, first: int = 0, replays: int = 0, group: str | None = None
    ) -> None:
        """Write so many, of the messages from `first` on, half to each partition."""
        for partition in range(2):
            letters = [
                letter(self.payments, number, group or self.group, replays)
                for number in range(first + partition, first + count, 2)
            ]
            await self.stage.write(self.naming.dead_letters, partition, letters)

    async def member(self, *, with_replays: bool = True) -> Member:
        """A member of the group, which finishes what it reads at once."""
        member = self.stage.member(self.group)
        await member.start([self.payments], optional=[self.replay_topic] if with_replays else [])
        await member.holding(3)
        return member

    async def replayed(self, operator: Operations, **options: object) -> Job:
        chosen: dict[str, object] = {"by": "ada", "rate": FAST, "dry_run": False} | options
        job = await operator.replay(Filter(), **chosen)  # type: ignore[arg-type]
        if job.status != "running":
            return job
        async with asyncio.timeout(SECONDS):
            return await operator.wait_for(job.id)

    async def copies(self) -> list[Record]:
        return await self._there(self.replay_topic)

    async def states(self) -> dict[tuple[int, int], StateOfLetter]:
        source = PlainSource(
            self.parts.transport.log_reader(), self.naming.dead_letters, self.naming.dead_letter_states
        )
        return {(place.partition, place.offset): state for place, state in (await source.states()).items()}

    async def ends(self) -> dict[str, list[int]]:
        topics = (
            self.naming.dead_letters,
            self.naming.dead_letter_states,
            self.replay_topic,
            self.payments,
            self.naming.control,
        )
        reader = self.parts.transport.log_reader()
        return {topic: [end for _, end in (await reader.ranges(topic)).values()] for topic in topics}

    async def _there(self, topic: str) -> list[Record]:
        reader = self.parts.transport.log_reader()
        return await read(reader, *(await reader.ranges(topic)).items())


def letter(topic: str, number: int, group: str, replays: int = 0) -> OutgoingRecord:
    headers = (("message-id", b"m-%d" % number), ("traceparent", b"00-1-2-01"), ("x", None))
    if replays:
        headers = (("x-convex-replay-count", b"%d" % replays), *headers)  # type: ignore[assignment]
    key, value, at = b"k%d" % (number % 7), b"v%d" % number, WRITTEN_AT + number
    record = Record(topic, number % 3, number, at, key, value, headers)
    failure = Failure(
        exception_type="ValueError",
        text="no",
        stack="",
        attempts=1,
        group=group,
        handler="settle",
        last_offset=None,
    )
    return build_dead_letter(record, failure, datetime(2026, 11, 30, tzinfo=UTC), 1_000_000)


@asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Scene]:
    scene = Scene(stage)
    await scene.open()
    try:
        yield scene
    finally:
        await scene.close()


@pytest.fixture
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    async with opened(stage) as scene:
        yield scene


def originals(copies: Sequence[Record]) -> list[tuple[str, int, int]]:
    return sorted(read_copy(copy).original[:3] for copy in copies)


def expected(scene: Scene, numbers: Sequence[int] = range(COUNT)) -> list[tuple[str, int, int]]:
    return sorted((scene.payments, number % 3, number) for number in numbers)


async def test_each_letter_has_one_copy_and_a_state_that_names_its_place(scene: Scene) -> None:
    await scene.letters()
    await scene.member()
    job = await scene.replayed(scene.operator())
    assert (job.status, job.selected, job.done, dict(job.refused), job.error) == (
        "done",
        COUNT,
        COUNT,
        {},
        "",
    )
    copies = await scene.copies()
    assert originals(copies) == expected(scene)
    by_place = {(copy.partition, copy.offset): read_copy(copy) for copy in copies}
    states = await scene.states()
    assert len(states) == COUNT
    for (partition, _), state in states.items():
        assert state.copy is not None
        assert (state.state, state.copy.group, state.copy.topic) == (
            "replayed",
            scene.group,
            scene.replay_topic,
        )
        copy = by_place[state.copy.partition, state.copy.offset]
        number = copy.original.offset
        assert (copy.group, copy.handler, number % 2) == (scene.group, "settle", partition)
        assert (copy.original.key, copy.original.value) == (b"k%d" % (number % 7), b"v%d" % number)
        assert copy.original.timestamp_ms == WRITTEN_AT + number
        assert copy.original.headers[-3:] == (
            ("message-id", b"m-%d" % number),
            ("traceparent", b"00-1-2-01"),
            ("x", None),
        )
    (listed,) = await scene.operator().jobs()
    assert (listed.id, listed.status, listed.done) == (job.id, "done", COUNT)


async def test_a_letter_that_was_written_twice_is_copied_once(scene: Scene) -> None:
    for _ in range(2):
        await scene.letters(6)
    await scene.member()
    job = await scene.replayed(scene.operator())
    assert (job.selected, job.done) == (6, 6)
    assert originals(await scene.copies()) == expected(scene, range(6))
    assert set(await scene.states()) == {(partition, offset) for partition in range(2) for offset in range(3)}


async def test_running_it_again_finds_nothing_left(scene: Scene) -> None:
    await scene.letters()
    await scene.member()
    await scene.replayed(scene.operator())
    again = await scene.replayed(scene.operator())
    assert (again.selected, again.done) == (0, 0)
    assert len(await scene.copies()) == COUNT


async def test_a_dry_run_writes_nothing_and_counts_what_would_be_done(scene: Scene) -> None:
    await scene.letters()
    await scene.letters(4, first=COUNT, replays=3)
    await scene.member()
    before = await scene.ends()
    operator = scene.operator()
    planned = await operator.replay(Filter(), by="ada")
    discarding = await operator.discard(Filter(), by="ada", reason="old")
    assert (planned.status, planned.selected, planned.refused) == (
        "planned",
        COUNT + 4,
        {"too_many_replays": 4},
    )
    assert (planned.topics, planned.groups) == ((scene.replay_topic,), (scene.group,))
    assert (discarding.status, discarding.selected) == ("planned", COUNT + 4)
    assert await scene.ends() == before
    with pytest.raises(ReplayRefused) as refused:
        await operator.replay(Filter(), by="ada", dry_run=False, expected=COUNT)
    assert refused.value.reason == "more_than_shown"
    assert await scene.ends() == before


@pytest.mark.parametrize(
    ("members", "reason"), [("none", "no_group"), ("old", "not_subscribed"), ("gone", "no_live_member")]
)
async def test_a_group_that_would_not_handle_them_is_refused(scene: Scene, members: str, reason: str) -> None:
    await scene.letters()
    if members != "none":
        member = await scene.member(with_replays=False)
        if members == "gone":
            await scene.stage.write(scene.payments, 0, [OutgoingRecord(None, b"x")])
            await member.having_read(1)
            await member.commit({TopicPartition(scene.payments, 0): Position(1)})
            await member.stop()
    before = await scene.ends()
    with pytest.raises(ReplayRefused) as refused:
        await scene.operator().replay(Filter(), by="ada", dry_run=False)
    assert (refused.value.reason, await scene.ends()) == (reason, before)


async def test_letters_of_several_groups_are_one_job(scene: Scene) -> None:
    await scene.letters()
    await scene.letters(6, group=f"{scene.prefix}.other")
    await scene.member()
    other = scene.stage.member(f"{scene.prefix}.other")
    await other.start([scene.payments], optional=[scene.naming.replay(f"{scene.prefix}.other")])
    await other.holding(3)
    job = await scene.replayed(scene.operator())
    assert (job.status, job.done, len(job.groups)) == ("done", COUNT + 6, 2)
    assert len(await scene.copies()) == COUNT
    assert len(await scene._there(scene.naming.replay(f"{scene.prefix}.other"))) == 6


async def test_who_comes_second_takes_over_and_each_letter_is_copied_once(scene: Scene) -> None:
    await scene.letters()
    await scene.member()
    first, second = scene.operator(), scene.operator()
    begun = await first.replay(Filter(), by="ada", rate=SLOW, dry_run=False)
    await eventually(lambda: (first.job(begun.id) or begun).done >= 2, SECONDS, "some copies")
    done = await scene.replayed(second, by="bob")
    with pytest.raises(ReplayFenced):
        await first.wait_for(begun.id)
    stopped = first.job(begun.id)
    assert stopped is not None
    assert (stopped.status, done.status, stopped.done + done.done) == ("stopped", "done", COUNT)
    assert originals(await scene.copies()) == expected(scene)
    assert len(await scene.states()) == COUNT
    told = {job.id: job for job in await second.jobs()}[begun.id]
    assert (told.status, "taken over by bob" in told.error) == ("stopped", True)


async def test_a_job_is_stopped_from_another_process_within_a_slice(scene: Scene) -> None:
    await scene.letters()
    await scene.member()
    owner, other = scene.operator(), scene.operator()
    begun = await owner.replay(Filter(), by="ada", rate=SLOW, dry_run=False)
    await eventually(lambda: (owner.job(begun.id) or begun).done >= 2, SECONDS, "some copies")
    async with asyncio.timeout(SECONDS):
        stopped = await other.stop_job(begun.id, by="bob")
        with pytest.raises(ReplayFenced, match="stopped by bob"):
            await owner.wait_for(begun.id)
    assert (stopped.status, stopped.error) == ("stopped", "stopped by bob")
    count = len(await scene.copies())
    assert (0 < count < COUNT, len(await scene.states())) == (True, count)
    rest = await scene.replayed(scene.operator())
    assert rest.done == COUNT - count
    assert originals(await scene.copies()) == expected(scene)


async def test_the_bus_that_stops_ends_a_job_between_two_slices(scene: Scene) -> None:
    await scene.letters()
    await scene.member()
    operator = scene.operator()
    begun = await operator.replay(Filter(), by="ada", rate=SLOW, dry_run=False)
    async with asyncio.timeout(SECONDS):
        await operator.stop()
    job = await operator.wait_for(begun.id)
    assert (job.status, job.error) == ("stopped", "the bus was stopped")
    (told,) = await scene.operator().jobs()
    assert (told.status, told.error) == ("stopped", "the bus was stopped")


async def test_discarded_letters_are_not_replayed_until_they_are_opened_again(scene: Scene) -> None:
    await scene.letters()
    await scene.member()
    operator = scene.operator()
    gone = await operator.discard(Filter(), by="ada", reason="test data", dry_run=False)
    assert (gone.status, gone.done) == ("done", COUNT)
    assert {state.state for state in (await scene.states()).values()} == {"discarded"}
    assert (await scene.replayed(operator)).selected == 0
    reopened = await operator.reopen(["0/0", "1/3"], by="bob")
    assert reopened.done == 2
    job = await scene.replayed(operator)
    assert job.done == 2
    states = await scene.states()
    changes = states[0, 0].changes
    assert [(change.state, change.by) for change in changes] == [
        ("discarded", "ada"),
        ("open", "bob"),
        ("replayed", "ada"),
    ]
    assert changes[0].reason == "test data"


async def test_letters_that_failed_too_often_are_left_and_counted(scene: Scene) -> None:
    await scene.letters(6, replays=3)
    await scene.member()
    job = await scene.replayed(scene.operator())
    assert (job.status, job.done, job.refused) == ("done", 0, {"too_many_replays": 6})
    job = await scene.replayed(scene.operator(), max_replays=4)
    assert job.done == 6


async def test_to_their_own_topic_and_whoever_will_see_them_again_is_named(scene: Scene) -> None:
    await scene.letters(6)
    member = await scene.member()
    await scene.stage.write(scene.payments, 0, [OutgoingRecord(None, b"x")])
    await member.having_read(1)
    await member.commit({TopicPartition(scene.payments, 0): Position(1)})
    operator = scene.operator()
    planned = await operator.replay(Filter(), by="ada", to="topic")
    assert (planned.seen_by, planned.topics) == ((scene.group,), (scene.payments,))
    job = await scene.replayed(operator, to="topic")
    assert job.done == 6
    copies = [copy for copy in await scene._there(scene.payments) if copy.value != b"x"]
    assert sorted((copy.partition, copy.value) for copy in copies) == sorted(
        (number % 3, b"v%d" % number) for number in range(6)
    )
    assert await scene.copies() == []


@pytest.mark.parametrize("topic", ["__consumer_offsets", "strangers", ""])
async def test_nothing_is_written_to_topics_that_nobody_meant(scene: Scene, topic: str) -> None:
    await scene.stage.write(
        scene.naming.dead_letters, 0, [letter(topic or scene.naming.dead_letters, 1, scene.group)]
    )
    await scene.member()
    with pytest.raises(ReplayRefused) as refused:
        await scene.operator().replay(Filter(), by="ada", to="topic", dry_run=False)
    assert refused.value.reason == "target_not_allowed"


async def test_without_transactions_it_is_done_as_well(scene: Scene) -> None:
    await scene.letters()
    await scene.member()
    job = await scene.replayed(scene.operator(), without_transaction=True)
    assert (job.status, job.done) == ("done", COUNT)
    assert originals(await scene.copies()) == expected(scene)
    assert len(await scene.states()) == COUNT
