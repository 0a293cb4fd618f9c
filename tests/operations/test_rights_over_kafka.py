"""Whoever lists letters or replays them needs just the rights that are told, and a missing one is named."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import MessagingError
from convex_messaging_fastapi.messages.topics import replay_topic
from convex_messaging_fastapi.operations import Filter, Operations
from convex_messaging_fastapi.parts import parts_for, transport_for
from convex_messaging_fastapi.verdicts import ready
from tests.bus.test_letters_over_kafka import SECONDS, settings_of
from tests.promises.test_replaying import letter
from tests.support.guarded import Guarded, User
from tests.support.independent import Independent
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("topics_are_soon_found")


class Right(NamedTuple):
    """Where `{}` stands for the prefix, which is the name of the group too."""

    operation: str
    kind: str
    on: str

    def to(self, prefix: str) -> Mapping[str, Any]:
        prefixed = {"prefixed": True} if self.kind == "transactional_id" else {}
        return {self.kind: self.on.format(prefix), **prefixed}


LIST = (
    Right("READ", "topic", "{}.dlq"),
    Right("READ", "topic", "{}.dlq.state"),
    Right("DESCRIBE", "group", "{}"),
)
REPLAY = (
    *LIST,
    Right("WRITE", "topic", "{}.dlq.state"),
    Right("WRITE", "topic", "{0}.{0}.replay"),
    Right("WRITE", "transactional_id", "{}.dlq/"),
)

NAMED: Mapping[Right, str] = {
    REPLAY[0]: "READ on topic {}.dlq",
    REPLAY[1]: "READ on topic {}.dlq.state",
    REPLAY[2]: "DESCRIBE on group {}",
    REPLAY[3]: "WRITE on topic {}.dlq.state",
    REPLAY[4]: "WRITE on topic {0}.{0}.replay",
    REPLAY[5]: "WRITE on transactional id {0}.dlq/{0}",
}
"""What is told where one is missing."""


class Stage:
    """Three letters of a group whose name is the prefix, and its replay topic."""

    def __init__(self, guarded: Guarded, prefix: str) -> None:
        self.guarded, self.prefix = guarded, prefix
        self.replays = replay_topic(prefix, prefix)
        self.witness = Independent(guarded.cluster.witnessed)

    async def prepare(self) -> None:
        dead_letters, states = f"{self.prefix}.dlq", f"{self.prefix}.dlq.state"
        for topic in (dead_letters, states, self.replays, f"{self.prefix}.payments"):
            await asyncio.to_thread(self.guarded.cluster.create_topic, topic, 1)
        for number in range(3):
            written = letter(f"{self.prefix}.payments", number, self.prefix)
            headers: list[tuple[str, str | bytes | None]] = list(written.headers)
            await asyncio.to_thread(self.witness.write, dead_letters, [written.value], headers=headers)
        # Nobody needs the right to read a topic in which nothing is.
        await asyncio.to_thread(self.witness.write, states, [b"{}"], key=b"of another release")
        await asyncio.to_thread(self.witness.commit, self.prefix, f"{self.prefix}.payments", 0, 0)

    async def user(self, *rights: Right) -> User:
        user = self.guarded.new_user()
        for right in rights:
            await asyncio.to_thread(self.guarded.grant, user, right.operation, **right.to(self.prefix))
        return user

    def operations(self, user: User) -> Operations:
        settings = settings_of(self.guarded.cluster, self.prefix, **user.settings)
        clock = SystemClock()
        return Operations(parts_for(settings, transport_for(settings, clock), clock))

    async def replay(self, user: User, *, anyway: bool = True) -> Any:
        operations = self.operations(user)
        begun = await operations.replay(by="ada", rate=10_000, anyway=anyway, dry_run=False)
        return await operations.wait_for(begun.id)

    async def ends(self) -> list[dict[int, int]]:
        ends = self.witness.ends
        return [await asyncio.to_thread(ends, t) for t in (f"{self.prefix}.dlq.state", self.replays)]


@pytest.fixture
async def stage(guarded: Guarded, unique: str) -> Stage:
    stage = Stage(guarded, unique)
    await stage.prepare()
    return stage


async def test_whoever_may_only_list_lists_shows_and_plans_and_writes_nothing(stage: Stage) -> None:
    user = await stage.user(*LIST)
    operations = stage.operations(user)
    page = await operations.dead_letters()
    assert ([each.state for each in page.letters], page.states_known) == (["open"] * 3, True)
    assert (await operations.dead_letter("0/1")).value == b"v1"
    planned = await operations.replay(Filter(), by="ada", anyway=True)
    assert (planned.status, planned.selected) == ("planned", 3)
    before = await stage.ends()
    with pytest.raises(MessagingError, match="these credentials lack WRITE on"):
        await stage.replay(user)
    assert await stage.ends() == before


async def test_whoever_may_replay_does_and_lists_what_became_of_it(stage: Stage) -> None:
    user = await stage.user(*REPLAY)
    job = await stage.replay(user)
    assert (job.status, job.done, job.error) == ("done", 3, "")
    page = await stage.operations(user).dead_letters(Filter(state="all"))
    assert [each.state for each in page.letters] == ["waiting"] * 3
    await asyncio.to_thread(stage.witness.commit, stage.prefix, stage.replays, 0, 10)
    page = await stage.operations(user).dead_letters(Filter(state="all"))
    assert [each.state for each in page.letters] == ["replayed"] * 3


async def test_copies_that_a_service_may_not_read_are_waiting_until_it_may(stage: Stage) -> None:
    service = await stage.user(Right("READ", "topic", "{}.payments"), Right("READ", "group", "{}"))
    bus, got = MessageBus(settings_of(stage.guarded.cluster, stage.prefix, **service.settings)), list[bytes]()

    @bus.subscriber("payments", id="settle", dead_letter="discard")
    async def settle(message: bytes) -> None:
        got.append(message)

    operator = await stage.user(*REPLAY)
    async with bus:
        await eventually(lambda: bool(bus.status().workers[0].partitions), SECONDS, "the partition")
        assert (await stage.replay(operator, anyway=False)).done == 3
        page = await stage.operations(operator).dead_letters(Filter(state="all"))
        assert ([each.state for each in page.letters], ready(bus.status()).ok) == (["waiting"] * 3, True)
        await asyncio.to_thread(stage.guarded.grant, service, "READ", topic=stage.replays)
        await eventually(lambda: sorted(got) == [b"v0", b"v1", b"v2"], SECONDS, "what was replayed")


@pytest.mark.parametrize("missing", REPLAY, ids=lambda right: " ".join(right))
async def test_a_right_that_is_missing_for_a_replay_is_named_and_nothing_is_written(
    stage: Stage, missing: Right
) -> None:
    user = await stage.user(*(right for right in REPLAY if right != missing))
    before = await stage.ends()
    with pytest.raises(MessagingError) as refused:
        await stage.replay(user)
    assert NAMED[missing].format(stage.prefix) in str(refused.value)
    assert await stage.ends() == before
