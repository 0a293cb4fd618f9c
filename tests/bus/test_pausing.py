"""A paused handler begins nothing new, what runs finishes, and all is handled after the resume."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from convex_messaging_fastapi import Breaker, ConfigurationError, MessageBus
from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.messages.decoding import codec_for
from convex_messaging_fastapi.messages.pauses import Whom, record_of, word_of
from convex_messaging_fastapi.operations import KnownHandler
from convex_messaging_fastapi.pausing import FIRST_READ_SECONDS, LOOK_SECONDS
from convex_messaging_fastapi.records import TopicPartition, utc
from convex_messaging_fastapi.status import SubscriptionStatus
from convex_messaging_fastapi.testing import TestBench
from convex_messaging_fastapi.transport.base import LogRange, NewTopic
from convex_messaging_fastapi.transport.memory.log_reader import MemoryLogReader
from convex_messaging_fastapi.verdicts import Verdict, live, ready
from tests.bus.support import Bet, memory_bus
from tests.operations.support import Desk
from tests.support.waiting import eventually

CONTROL = "convex.control"
AT = utc(1_767_225_600_000)

A_FETCH_SECONDS = 1.0
"""A fetch that was under way may bring one more message, and is the last."""


@dataclass
class Shop:
    """A bus with a handler that may be paused, its sibling on the same topic, and others elsewhere."""

    bus: MessageBus = field(default_factory=memory_bus)
    got: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.handles("pay", "bet.placed")
        self.handles("sibling", "bet.placed")
        self.handles("other", "bet.won")
        self.handles("elsewhere", "bet.placed", group="audit")

    def handles(self, id: str, topic: str, **choices: str) -> None:
        got = self.got.setdefault(id, [])

        @self.bus.subscriber(topic, id=id, **choices)  # type: ignore[arg-type]
        async def handle(bet: Bet) -> None:
            got.append(bet.bet_id)

    @property
    def ids(self) -> dict[str, list[int]]:
        return {id: sorted(got) for id, got in self.got.items()}

    async def publish(self, *ids: int) -> None:
        for id in ids:
            await self.bus.publish("bet.placed", Bet(bet_id=id))
            await self.bus.publish("bet.won", Bet(bet_id=id))

    def status_of(self, id: str, group: str = "bets") -> SubscriptionStatus:
        workers = self.bus.status().workers
        return next(s for w in workers if w.group == group for s in w.subscriptions if s.id == id)


def known(group: str) -> KnownHandler:
    return KnownHandler(group, "pay", ("convex.bet.placed",), codec_for(Bet))


def told(bench: TestBench, whom: Whom, *, paused: bool = True) -> None:
    """As if another process had said so."""
    bench.broker.ensure(NewTopic(CONTROL, 1, config={"cleanup.policy": "compact"}))
    bench.broker.append(TopicPartition(CONTROL, 0), [record_of(whom, "ada", AT, "why", paused=paused)])


async def test_a_paused_handler_and_its_siblings_stop_and_others_go_on() -> None:
    shop = Shop()
    async with shop.bus.test() as t:
        await t.settle()
        await shop.bus.operations.pause("pay", group="bets", by="ada", reason="database away")
        await t.advance(LOOK_SECONDS + A_FETCH_SECONDS)

        await shop.publish(1, 2, 3)
        await t.settle()

        assert shop.ids == {"pay": [], "sibling": [], "other": [1, 2, 3], "elsewhere": [1, 2, 3]}
        pause = shop.status_of("pay").paused
        assert pause is not None
        assert (pause.by, pause.reason, pause.scope) == ("ada", "database away", "fleet")
        assert shop.status_of("sibling").paused is None
        assert ready(shop.bus.status()) == Verdict(True, "degraded", ("paused",))
        assert live(shop.bus.status()).ok

        await shop.bus.operations.resume("pay", group="bets", by="ada")
        await t.advance(LOOK_SECONDS)
        await t.settle()

        assert shop.ids == {id: [1, 2, 3] for id in shop.got}
        assert ready(shop.bus.status()) == Verdict(True, "up")


async def test_what_was_fetched_before_waits_and_what_runs_finishes() -> None:
    bus, begun, may_end = memory_bus(concurrency=1), list[int](), asyncio.Event()

    @bus.subscriber("bet.placed", id="pay")
    async def pay(bet: Bet) -> None:
        begun.append(bet.bet_id)
        await may_end.wait()

    async with bus.test() as t:
        for id in range(3):
            await bus.publish("bet.placed", Bet(bet_id=id))
        await t.advance(1)
        await bus.operations.pause("pay", by="ada", scope="process")
        may_end.set()
        await t.advance(60)
        assert len(begun) == 1
        assert bus.status().workers[0].subscriptions[0].handled == 1
        assert bus.status().workers[0].contact.member

        await bus.operations.resume("pay", by="ada", scope="process")
        await t.settle()
        assert sorted(begun) == [0, 1, 2]


async def test_a_pause_of_the_fleet_counts_before_the_first_record_after_a_restart() -> None:
    address = "memory://pausing"
    shop = Shop(memory_bus(bootstrap_servers=address))
    async with memory_bus(bootstrap_servers=address) as another:
        for id in range(3):
            await another.publish("bet.placed", Bet(bet_id=id))
            await another.publish("bet.won", Bet(bet_id=id))
        await another.operations.pause("pay", group="bets", by="ada")
        async with shop.bus:
            await eventually(
                lambda: shop.ids["other"] == [0, 1, 2] == shop.ids["elsewhere"], 10, "what is not paused"
            )
            assert shop.got["pay"] == []
            assert shop.status_of("pay").paused is not None


async def test_a_bus_without_handlers_reads_no_control_topic_and_its_first_handler_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus, asked, ranges, got = memory_bus(), list[str](), MemoryLogReader.ranges, list[int]()

    async def noted(self: MemoryLogReader, topic: str) -> Mapping[TopicPartition, LogRange]:
        asked.append(topic)
        return await ranges(self, topic)

    monkeypatch.setattr(MemoryLogReader, "ranges", noted)
    async with bus.test() as t:
        told(t, Whom("bets", "late"))
        await t.advance(3 * LOOK_SECONDS)
        assert asked == []

        async def late(bet: Bet) -> None:
            got.append(bet.bet_id)

        await bus.subscribe("bet.lost", late, id="late")
        await bus.publish("bet.lost", Bet(bet_id=1))
        await t.settle()
        assert (asked, got) == ([CONTROL], [])
        told(t, Whom("bets", "late"), paused=False)
        await t.advance(LOOK_SECONDS)
        await t.settle()
        assert got == [1]


async def test_a_handler_that_joins_later_has_heard_of_its_pause() -> None:
    shop, got = Shop(), list[int]()
    async with shop.bus.test() as t:
        told(t, Whom("bets", "late"))
        await t.advance(LOOK_SECONDS)

        async def late(bet: Bet) -> None:
            got.append(bet.bet_id)

        await shop.bus.subscribe("bet.lost", late, id="late")
        await shop.bus.publish("bet.lost", Bet(bet_id=1))
        await t.settle()
        assert got == []
        assert shop.status_of("late").paused is not None


async def test_a_control_topic_that_cannot_be_read_keeps_nobody_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop()
    async with shop.bus.test() as t:
        t.broker.down()
        await t.advance(3 * LOOK_SECONDS)
        lines = [line for line in caplog.messages if "paused is not known" in line]
        assert len(lines) == 1
        t.broker.up()
        await shop.publish(1)
        await t.settle()
        assert shop.got["pay"] == [1]


@pytest.mark.parametrize("seconds", [FIRST_READ_SECONDS, 0.0], ids=["silent", "refused"])
async def test_a_control_topic_that_is_not_read_at_the_start_is_waited_for_three_seconds_at_most(
    seconds: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ranges(self: MemoryLogReader, topic: str) -> Mapping[TopicPartition, LogRange]:
        if seconds:
            await asyncio.Event().wait()
        raise TransportError("refused")

    monkeypatch.setattr(MemoryLogReader, "ranges", ranges)
    shop = Shop()
    async with shop.bus.test() as t:
        await shop.publish(1)
        if seconds:
            await t.advance(seconds - 0.5)
            assert shop.ids == {id: [] for id in shop.got}
        await t.advance(1)
        assert shop.ids == {id: [1] for id in shop.got}
        assert ready(shop.bus.status()) == Verdict(True, "up")
    assert len([line for line in caplog.messages if "paused is not known" in line]) == 1


async def test_resume_closes_an_open_breaker() -> None:
    bus, away = memory_bus(), [True]

    @bus.subscriber("bet.placed", id="pay", breaker=Breaker(of=3, wait_seconds=300))
    async def pay(bet: Bet) -> None:
        if away[0]:
            raise ConnectionError("away")

    async with bus.test() as t:
        for id in range(20):
            await bus.publish("bet.placed", Bet(bet_id=id, player=f"p{id}"))
        await t.advance(30)
        breaker = bus.status().workers[0].subscriptions[0].breaker
        assert breaker is not None
        assert breaker.is_open
        away[0] = False
        await bus.operations.resume("pay", by="ada")
        await t.advance(LOOK_SECONDS)
        breaker = bus.status().workers[0].subscriptions[0].breaker
        assert breaker is not None
        assert not breaker.is_open
        await t.settle()
        assert len(t.handled("pay")) == 20


async def test_an_id_that_two_groups_have_needs_its_group() -> None:
    desk = Desk(handlers=[known("a"), known("b")])
    with pytest.raises(ConfigurationError, match="several groups have a handler 'pay'"):
        await desk.operations.pause("pay", by="ada")
    await desk.operations.pause("pay", group="b", by="ada")
    (word,) = map(word_of, desk.broker.records(CONTROL))
    assert word is not None
    assert word[0] == Whom("b", "pay")


async def test_a_handler_that_there_is_not_cannot_be_paused() -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", id="pay", group="a")
    async def pay(bet: Bet) -> None: ...

    async with bus.test():
        with pytest.raises(ConfigurationError, match="no handler is 'psy'"):
            await bus.operations.pause("psy", by="ada")
        with pytest.raises(ConfigurationError, match="no handler is 'psy'"):
            await bus.operations.pause("psy", group="a", by="ada")
        with pytest.raises(ConfigurationError, match="runs in this process"):
            await bus.operations.pause("pay", group="of others", scope="process", by="ada")


async def test_the_log_says_who_paused_what_and_when_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shop = Shop()
    async with shop.bus.test() as t:
        told(t, Whom("bets", "pay"))
        await t.advance(LOOK_SECONDS)
        told(t, Whom("bets", "pay"), paused=False)
        await t.advance(LOOK_SECONDS)
    assert "group bets: pay begins nothing new, for ada has paused it: why" in caplog.messages
    assert "group bets: pay goes on after its pause" in caplog.messages
