"""What somebody who is woken at night reads: the log of each story, printed, and asserted line by line."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingSettings, Retry
from tests.support.telling import telling
from tests.support.waiting import eventually, pass_time
from tools.kafka.cluster import Cluster

OURS, ENGINE = "convex_messaging_fastapi", "aiokafka"
WITHIN = 60.0
OUTAGE_LINES = 10


class Bet(ConvexMessage):
    bet_id: int


class Log(logging.Handler):
    """The lines of one story: ours, and beside them those of the engine."""

    def __init__(self, ignored: str) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._ignored = ignored
        self._came = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._came:
            self.records.append(record)
            self._came.notify_all()

    def wait_for(self, text: str) -> None:
        """Blocks this thread, with the loop that runs in it."""
        with self._came:
            assert self._came.wait_for(lambda: any(text in line for line in self.lines), WITHIN), text

    @property
    def ours(self) -> list[logging.LogRecord]:
        return [record for record in self.records if record.name == OURS]

    @property
    def lines(self) -> list[str]:
        """Ours, without what differs from run to run."""
        return [
            plain(f"{each.levelname} {each.getMessage()}".replace(self._ignored, "T")) for each in self.ours
        ]

    def about(self, message_id: str) -> list[str]:
        return [
            record.getMessage() for record in self.ours if getattr(record, "message_id", None) == message_id
        ]


def plain(line: str) -> str:
    line = re.sub(r"(127\.0\.0\.1|localhost):\d+", "KAFKA", line)
    line = re.sub(r"\d+\.\d+ s", "N s", line)
    line = re.sub(r"/\d+/\d+", "/P/O", line)
    return re.sub(r"/[^ |]*/(\w+\.py):\d+", r"\1", line)


@pytest.fixture
def log(unique: str, request: pytest.FixtureRequest) -> Iterator[Log]:
    """Everything at INFO from both; told when the story is over, whether or not it went well."""
    log = Log(unique)
    loggers = [logging.getLogger(name) for name in (OURS, ENGINE)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(log)
        logger.setLevel(logging.INFO)
    yield log
    for logger, level in zip(loggers, before, strict=True):
        logger.removeHandler(log)
        logger.setLevel(level)
    told = [
        f"{each.levelname:8} {each.name.partition('.')[0]:24} {each.getMessage()}" for each in log.records
    ]
    telling(request.config).tell("\n".join([f"the log of {request.node.name}:", *told]))


NewBus = Callable[..., MessageBus]


@pytest.fixture
def new_bus(unique: str) -> NewBus:
    def bus(**choices: Any) -> MessageBus:
        usual: dict[str, Any] = {
            "bootstrap_servers": "memory://",
            "topic_prefix": unique,
            "consumer_group": "bets",
        }
        return MessageBus(MessagingSettings(**(usual | choices)))

    return bus


@asynccontextmanager
async def running(bus: MessageBus, log: Log) -> AsyncIterator[None]:
    """Started, with partitions in its hands."""
    async with bus:
        await asyncio.to_thread(log.wait_for, "group bets holds")
        yield


BEGINNING = [
    "INFO the bus starts: memory, 1 group",
    "INFO group bets is to read T.placed for pay",
    "INFO group bets holds 4 partitions: T.placed/0-3",
]
END = [
    "INFO stopping: no handler is at work",
    "INFO group bets gives up 4 partitions: T.placed/0-3",
    "INFO the bus has stopped, after N s",
]


async def test_a_healthy_start_and_a_stop(log: Log, new_bus: NewBus) -> None:
    bus, paid = new_bus(), asyncio.Event()

    @bus.subscriber("placed", id="pay")
    async def pay(bet: Bet) -> None:
        paid.set()

    async with running(bus, log):
        await bus.publish("placed", Bet(bet_id=7))
        await paid.wait()
    assert log.lines == [*BEGINNING, *END]


async def test_a_handler_that_fails_and_then_succeeds(log: Log, new_bus: NewBus) -> None:
    bus, paid = new_bus(), asyncio.Event()
    tries: list[int] = []

    @bus.subscriber("placed", id="pay", retry=Retry(attempts=3, delay_seconds=0.01, jitter=0))
    async def pay(bet: Bet) -> None:
        tries.append(bet.bet_id)
        if len(tries) < 3:
            raise ConnectionError("the bank does not answer")
        paid.set()

    async with running(bus, log):
        await bus.publish("placed", Bet(bet_id=7), headers={"message-id": "m-7"})
        await paid.wait()
    failed = "WARNING pay failed on T.placed/P/O (message-id m-7), attempt {}, again in N s: "
    assert log.lines == [
        *BEGINNING,
        *(failed.format(attempt) + "ConnectionError: the bank does not answer" for attempt in (1, 2)),
        *END,
    ]
    assert len(log.about("m-7")) == 2


async def test_a_burial(log: Log, new_bus: NewBus) -> None:
    bus = new_bus()

    async def bank(bet: Bet) -> None:
        raise ConnectionError("the bank does not answer")

    @bus.subscriber("placed", id="pay", retry=Retry(attempts=1))
    async def pay(bet: Bet) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(bank(bet))

    async with running(bus, log):
        await bus.publish("placed", Bet(bet_id=7), key="ada", headers={"message-id": "m-7"})
        await asyncio.to_thread(log.wait_for, "gave up")
    assert log.lines == [
        *BEGINNING,
        "ERROR pay gave up on T.placed/P/O (message-id m-7) with key 'ada' after attempt 1, "
        "its dead letter is T.dlq/P/O: ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception) | "
        "test_the_log.py in pay | in it ConnectionError: the bank does not answer | test_the_log.py in bank",
        *END,
    ]
    assert len(log.about("m-7")) == 1


async def test_a_stop_with_a_busy_handler(log: Log, new_bus: NewBus) -> None:
    bus, begun = new_bus(drain_timeout_seconds=0.5, shutdown_timeout_seconds=3), asyncio.Event()

    @bus.subscriber("placed", id="pay")
    async def pay(bet: Bet) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(bus, log):
        await bus.publish("placed", Bet(bet_id=7), headers={"message-id": "m-7"})
        await begun.wait()
    assert log.lines == [
        *BEGINNING,
        "INFO draining: 1 handler at work (pay on T.placed/P/O), at most N s",
        "INFO group bets gives up 4 partitions: T.placed/0-3 (1 handler at work)",
        "WARNING given up after N s: pay on T.placed/P/O (message-id m-7) was cancelled, "
        "and the message comes again",
        "INFO the bus has stopped, after N s",
    ]
    assert len(log.about("m-7")) == 1


async def test_a_blocked_event_loop(log: Log, new_bus: NewBus) -> None:
    bus, over = new_bus(), asyncio.Event()

    @bus.subscriber("placed", id="pay")
    async def pay(bet: Bet) -> None:
        log.wait_for("stood still")  # as a call does that should have been awaited
        over.set()

    async with running(bus, log):
        await bus.publish("placed", Bet(bet_id=7), headers={"message-id": "m-7"})
        await over.wait()
        await asyncio.to_thread(log.wait_for, "goes on")
    blocked, goes_on = log.lines[3:5]
    assert blocked.startswith(
        "WARNING the event loop has stood still for N s, and all else waits, heartbeats included: "
        "pay on T.placed/P/O (message-id m-7) blocks it at test_the_log.py in wait_for, in threading.py"
    )
    assert goes_on == (
        "WARNING the event loop goes on: pay on T.placed/P/O (message-id m-7) blocked it for N s"
    )
    assert [*log.lines[:3], *log.lines[5:]] == [*BEGINNING, *END]
    assert len(log.about("m-7")) == 2


ON_KAFKA = [
    "INFO the bus starts: Kafka at KAFKA, 1 group",
    "INFO group bets is to read T.placed for pay",
]


def on(kafka: Cluster, unique: str, **choices: Any) -> dict[str, Any]:
    return {"bootstrap_servers": kafka.bootstrap, "consumer_group": f"{unique}-bets", **choices}


async def test_a_missing_topic_that_comes(log: Log, new_bus: NewBus, kafka: Cluster, unique: str) -> None:
    bus, paid = new_bus(**on(kafka, unique)), asyncio.Event()

    @bus.subscriber("placed", id="pay")
    async def pay(bet: Bet) -> None:
        paid.set()

    async with bus:
        await asyncio.to_thread(log.wait_for, "does not have")
        await asyncio.to_thread(kafka.create_topic, f"{unique}.placed", 2)
        await asyncio.to_thread(log.wait_for, "2 partitions")
        await bus.publish("placed", Bet(bet_id=7))
        await paid.wait()
    group = "INFO group T-bets"
    assert [line for line in log.lines if "0 partitions" not in line and "no partitions" not in line] == [
        "INFO the bus starts: Kafka at KAFKA, 1 group",
        f"{group} is to read T.placed for pay",
        "WARNING group T-bets waits for 1 topic that the cluster does not have: T.placed; "
        "create what is missing, or set KAFKA_CREATE_TOPICS=true and start again",
        f"{group} now holds 2 partitions: T.placed/0-1",
        "INFO stopping: no handler is at work",
        f"{group} gives up 2 partitions: T.placed/0-1",
        "INFO the bus has stopped, after N s",
    ]


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(9, marks=[pytest.mark.faults, pytest.mark.timeout(180)]),
        pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(240)]),
    ],
)
async def test_an_outage(seconds: float, log: Log, new_bus: NewBus, kafka: Cluster, unique: str) -> None:
    """With something that was handled and not committed yet, and longer than a session."""
    bus = new_bus(**on(kafka, unique, session_timeout_ms=6000))
    paid: list[int] = []

    @bus.subscriber("placed", id="pay")
    async def pay(bet: Bet) -> None:
        paid.append(bet.bet_id)

    await asyncio.to_thread(kafka.create_topic, f"{unique}.placed", 4)
    async with bus:
        await asyncio.to_thread(log.wait_for, "holds 4 partitions")
        await bus.publish("placed", Bet(bet_id=1))
        await eventually(lambda: paid, WITHIN, "the first message")
        began = len(log.ours)
        await asyncio.to_thread(kafka.brokers[0].kill)
        await asyncio.to_thread(pass_time, seconds)
        kafka.brokers[0].start()
        await asyncio.to_thread(log.wait_for, "is in contact after")
        await asyncio.to_thread(log.wait_for, "now holds 4 partitions")
        await bus.publish("placed", Bet(bet_id=2), timeout=30)
        await eventually(lambda: 2 in paid, WITHIN, "the second message")
        outage = log.lines[began:]
    assert len(outage) <= OUTAGE_LINES
    once = (
        "contact with Kafka at KAFKA is lost",
        "is in contact after N s without",
        "now holds 4 partitions",
    )
    assert [sum(text in line for line in outage) for text in once] == [1, 1, 1]
    assert len(set(outage)) == len(outage), "nothing is said twice"
