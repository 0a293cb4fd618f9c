"""What the page "Why is it not …?" answers is so: each question has a test of its number here."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from fastapi.testclient import TestClient

from convex_messaging_fastapi import (
    Batch,
    Bus,
    BusStateError,
    Committed,
    Delivery,
    MessageBus,
    MessagingRouter,
    Observer,
    Reject,
    Retry,
    RetryAfter,
)
from convex_messaging_fastapi.cli.tree import NAME
from tests.bus.support import Bet, memory_bus
from tests.support.services import ROOT
from tests.support.waiting import eventually

PAGE = (ROOT / "docs" / "why-not.md").read_text()
TOPIC = "bet.placed"


def test_each_question_has_its_test() -> None:
    asked = re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)
    assert asked == [str(number) for number in range(1, 18)]
    tested = {int(found[1]) for name in globals() if (found := re.match(r"test_(\d\d)_", name))}
    assert tested == set(map(int, asked))


async def handed_out(count: int, got: list[Any]) -> None:
    await eventually(lambda: len(got) >= count, 10, f"{count} messages")


async def test_01_a_new_group_begins_with_what_is_there_already() -> None:
    shared = "memory://why-not-1"
    writer = memory_bus(bootstrap_servers=shared)
    early, late = list[Any](), list[Any]()
    async with writer:
        await writer.publish(TOPIC, Bet(bet_id=1))
        await reads(shared, "earliest", early)
        await reads(shared, "latest", late)
        await writer.publish(TOPIC, Bet(bet_id=2))


async def reads(shared: str, reset: str, got: list[Any]) -> None:
    """A service that is started after the first message was written, in a group that is new."""
    bus = memory_bus(bootstrap_servers=shared, consumer_group=reset, auto_offset_reset=reset)

    @bus.subscriber(TOPIC)
    async def handle(bet: Bet) -> None:
        got.append(bet.bet_id)

    async with bus:
        await eventually(lambda: bus.status().workers[0].partitions, 10, "partitions")
        await bus.publish(TOPIC, Bet(bet_id=0), key="a")
        await handed_out(2 if reset == "earliest" else 1, got)
    assert (1 in got) is (reset == "earliest")


async def test_02_a_message_that_fails_is_tried_again_and_then_kept() -> None:
    bus, tried = memory_bus(), list[int]()

    @bus.subscriber(TOPIC)
    async def handle(bet: Bet, delivery: Delivery) -> None:
        tried.append(bet.bet_id)
        if bet.bet_id == 1:
            raise ConnectionError("no database")

    async with bus.test() as t:
        for number in (1, 2):
            await bus.publish(TOPIC, Bet(bet_id=number), key="a")
        await t.settle()
        (letter,) = t.dead_letters()
    assert tried == [1, 1, 1, 2]
    assert (letter.attempts, letter.error_message) == (3, "no database")


async def test_03_an_offset_is_committed_when_all_before_it_is_finished() -> None:
    bus, go_on, got = memory_bus(enable_auto_commit=False), asyncio.Event(), list[Any]()

    @bus.subscriber(TOPIC)
    async def handle(bet: Bet) -> None:
        got.append(bet.bet_id)
        if bet.bet_id == 1:
            await go_on.wait()

    async with bus.test() as t:
        await bus.publish(TOPIC, Bet(bet_id=1))
        await bus.publish_many(TOPIC, [Bet(bet_id=2), Bet(bet_id=3)], key=lambda bet: str(bet.bet_id))
        await handed_out(3, got)
        await t.advance(60)
        held = [each for each in bus.status().workers[0].partitions if each.oldest_unfinished is not None]
        (first,) = held
        assert first.committed == first.oldest_unfinished
        go_on.set()
        await t.settle()
        assert not [each for each in bus.status().workers[0].partitions if each.committed != each.position]


async def test_04_a_handler_says_when_it_is_to_be_called_again() -> None:
    bus, at = memory_bus(), list[float]()
    async with bus.test() as t:

        async def handle(bet: Bet, delivery: Delivery) -> None:
            at.append(t.clock.now())
            if delivery.attempt == 1:
                raise RetryAfter(60, "the bank is closed")
            raise Reject("the card is stolen")

        await bus.subscribe(TOPIC, handle)
        await bus.publish(TOPIC, Bet(bet_id=1))
        await t.settle()
        (letter,) = t.dead_letters()
    assert at[1] - at[0] == pytest.approx(60)
    assert letter.attempts == 2


async def test_05_a_handler_that_hangs_ends_with_its_attempt() -> None:
    bus, done = memory_bus(), list[int]()

    @bus.subscriber(TOPIC, timeout=5, retry=Retry(attempts=1))
    async def handle(bet: Bet) -> None:
        if bet.bet_id == 1:
            await asyncio.Event().wait()
        done.append(bet.bet_id)

    async with bus.test() as t:
        for number in (1, 2):
            await bus.publish(TOPIC, Bet(bet_id=number), key="a")
        await t.advance(6)
        await t.settle()
        (letter,) = t.dead_letters()
    assert done == [2]
    assert letter.exception_type is not None
    assert letter.exception_type.endswith("AttemptTimedOut")


async def test_06_whoever_blocks_the_event_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory_bus(bootstrap_servers="memory://why-not-6")
    done = asyncio.Event()

    @bus.subscriber(TOPIC, id="take-payment")
    async def handle(bet: Bet) -> None:
        time.sleep(1.7)  # noqa: ASYNC251  # simulates work
        done.set()

    async with bus:
        await bus.publish(TOPIC, Bet(bet_id=1))
        await done.wait()
        await eventually(lambda: "take-payment" in caplog.text, 10, "the warning")
    told = next(line for line in caplog.messages if "take-payment" in line)
    assert "test_questions.py" in told
    assert "plain `def`" in told


async def test_07_a_handler_may_take_minutes() -> None:
    """In a thread, where it may block, while other keys go on."""
    bus, go_on, got = memory_bus(), threading.Event(), list[int]()

    @bus.subscriber(TOPIC)
    def handle(bet: Bet) -> None:
        if bet.bet_id == 1:
            go_on.wait(30)
        got.append(bet.bet_id)

    async with bus.test() as t:
        await bus.publish(TOPIC, Bet(bet_id=1), key="a")
        await bus.publish(TOPIC, Bet(bet_id=2), key="b")
        await handed_out(1, got)
        await t.advance(600)
        assert len(bus.status().workers[0].partitions) == 4
        go_on.set()
        await t.settle()
        assert t.dead_letters() == []
    assert got == [2, 1]


async def test_08_what_a_stop_leaves_unfinished_comes_again() -> None:
    shared, begun, done = "memory://why-not-8", list[int](), list[int]()

    def service(*, works: bool) -> MessageBus:
        bus = memory_bus(bootstrap_servers=shared, drain_timeout_seconds=0.1)

        @bus.subscriber(TOPIC)
        async def handle(bet: Bet) -> None:
            begun.append(bet.bet_id)
            if not works:
                await asyncio.Event().wait()
            done.append(bet.bet_id)

        return bus

    keeper = memory_bus(bootstrap_servers=shared, consumer_group="keeper")  # without a bus there is no broker
    async with keeper:
        first = service(works=False)
        async with first:
            await first.publish(TOPIC, Bet(bet_id=1))
            await handed_out(1, begun)
        second = service(works=True)
        async with second:
            await handed_out(1, done)
    assert (begun, done) == ([1, 1], [1])


def test_09_the_bus_joins_a_lifespan_that_is_there() -> None:
    order = list[str]()
    bus = memory_bus()

    @bus.subscriber(TOPIC)
    async def handle(bet: Bet) -> None: ...

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        order.append(f"app begins, bus {bus.status().phase}")
        yield
        order.append(f"app ends, bus {bus.status().phase}")

    app = FastAPI(lifespan=lifespan)
    app.include_router(MessagingRouter(bus))
    for _ in range(2):  # one app may start twice, as it does in tests
        with TestClient(app) as client:
            assert client.get("/health/kafka/startup").status_code == 200
    assert len(order) == 4
    assert "running" not in " ".join(order)


async def test_10_a_batch_is_tested_as_it_runs() -> None:
    bus = memory_bus()

    @bus.subscriber(TOPIC, batch=Batch(max_records=2, max_wait_seconds=60))
    async def handle(bets: list[Bet]) -> None: ...

    async with bus.test() as t:
        await bus.publish_many(TOPIC, [Bet(bet_id=n) for n in range(3)], key="a")
        await t.settle()
        assert [[bet.bet_id for bet in bets] for bets in t.handled(handle)] == [[0, 1], [2]]


async def test_11_what_does_not_fit_the_model_is_a_dead_letter_with_its_bytes() -> None:
    bus, got = memory_bus(), list[Any]()

    @bus.subscriber(TOPIC)
    async def handle(bet: Bet) -> None:
        got.append(bet.bet_id)

    async with bus.test() as t:
        for value in (b"{not json", b'{"BetId": "many"}', b'{"BetId": 3}'):
            await bus.publish(TOPIC, value, key="a")
        await t.settle()
        letters = t.dead_letters()
    assert got == [3]
    assert [letter.original_value() for letter in letters] == [b"{not json", b'{"BetId": "many"}']
    assert {letter.attempts for letter in letters} == {1}


async def test_12_a_batch_has_a_delivery_for_each_message() -> None:
    bus, got = memory_bus(), list[Any]()

    @bus.subscriber(TOPIC, batch=Batch())
    async def handle(bets: list[Bet], deliveries: list[Delivery]) -> None:
        got.append([(bet.bet_id, delivery.key) for bet, delivery in zip(bets, deliveries, strict=True)])

    async with bus.test() as t:
        await bus.publish_many(TOPIC, [Bet(bet_id=1), Bet(bet_id=2)], key="a")
        await t.settle()
    assert got == [[(1, b"a"), (2, b"a")]]


class Commits(Observer):
    def __init__(self) -> None:
        self.count = 0

    def committed(self, event: Committed) -> None:
        self.count += 1


async def test_13_a_thousand_messages_are_committed_at_once() -> None:
    commits = Commits()
    bus = memory_bus(observers=[commits])

    @bus.subscriber(TOPIC)
    async def handle(bet: Bet) -> None: ...

    async with bus.test() as t:
        await bus.publish_many(TOPIC, [Bet(bet_id=n) for n in range(1000)], key="a")
        await t.settle()
        assert len(t.handled(handle)) == 1000
    assert 1 <= commits.count <= 3


def test_14_the_compose_file_gives_one_broker_one_replica() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    variables = services["kafka"]["environment"]
    (answer,) = re.findall(r"## 14\..*?(?=\n## )", PAGE, re.DOTALL)
    named = dict(re.findall(r"`(KAFKA_[A-Z_]+)=([^`]+)`", answer))
    assert named
    assert {name: str(variables[name]) for name in named} == named
    assert f"`{NAME} doctor`" in answer


async def test_15_a_bus_of_another_event_loop_says_so_at_once() -> None:
    bus = memory_bus()

    async def elsewhere() -> str:
        with pytest.raises(BusStateError) as told:
            await bus.publish(TOPIC, Bet(bet_id=1))
        return str(told.value)

    async with bus:
        told = await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert "publish_sync" in told


def test_16_the_metrics_that_are_named_are_there_and_the_first_three_have_alarms() -> None:
    (answer,) = re.findall(r"## 16\..*?(?=\n## )", PAGE, re.DOTALL)
    named = re.findall(r"`(convex_messaging_\w+)`", answer)
    known = (ROOT / "tests" / "golden" / "metrics.txt").read_text()
    assert len(named) == 5
    assert not [name for name in named if not re.search(rf"^\w+ {name}(?:{{| )", known, re.MULTILINE)]
    alarms = (ROOT / "grafana" / "alerts.yaml").read_text()
    assert not [name for name in named[:3] if name not in alarms]


def test_17_routes_and_handlers_share_one_process() -> None:
    bus = memory_bus()
    app, got = FastAPI(), list[int]()
    app.include_router(MessagingRouter(bus))
    here = threading.Event()

    @bus.subscriber(TOPIC)
    async def handle(bet: Bet) -> None:
        got.append(bet.bet_id)
        here.set()

    @app.post("/bets/{bet_id}")
    async def place(bet_id: int, bus: Bus) -> None:
        await bus.publish(TOPIC, Bet(bet_id=bet_id))

    with TestClient(app) as client:
        assert client.post("/bets/7").status_code == 200
        assert here.wait(10)
    assert got == [7]
