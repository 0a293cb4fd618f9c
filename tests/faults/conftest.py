"""What fault tests share: a crew of processes around one topic of work, and what they noted."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingSettings, PublishError, Receipt
from tests.support.cluster import Cluster
from tests.support.independent import Independent
from tests.support.ledgers import History, Place, Reader
from tests.support.services import Service
from tests.support.waiting import until

APP = "tests.faults.app:app"
PARTITIONS = 4
KEYS = 200

Committed = dict[tuple[str, int], int]
Report = Callable[[str], None]


class Work(ConvexMessage):
    """As the app knows it; importing that would read its environment."""

    id: int


class Crew:
    """Processes of one group on one cluster, the topics they work on, and their common ledger."""

    def __init__(self, cluster: Cluster, name: str, folder: Path, ends: ExitStack) -> None:
        self.cluster = cluster
        self.witness = Independent(cluster.bootstrap)
        self.name = name
        self.group = f"{name}-crew"
        self.ledger = Reader(folder / "ledger")
        self.killed: dict[str, float] = {}
        """When members were killed, by their names in the ledger."""
        self._folder = folder
        self._ends = ends

    def topic(self, name: str) -> str:
        """Its name on the wire, created when it is first asked for."""
        wire = f"{self.name}.{name}"
        if wire not in self.cluster.metadata().topics:
            self.cluster.create_topic(wire, PARTITIONS)
        return wire

    def hire(self, name: str, **settings: Any) -> Service:
        """A process, not yet started; `settings` are variables of its environment. Killed at the end."""
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap,
            "KAFKA_TOPIC_PREFIX": self.name,
            "KAFKA_CONSUMER_GROUP": self.group,
            "KAFKA_SESSION_TIMEOUT_MS": "6000",
            "FAULTS_LEDGER": str(self._folder / "ledger"),
            "FAULTS_NAME": name,
            **{variable: str(value) for variable, value in settings.items()},
        }
        hired = Service(self._folder, environment, app=APP, name=name)
        self._ends.callback(hired.kill)
        return hired

    def kill(self, member: Service) -> str:
        """SIGKILL; the name in the ledger of the life that ended so."""
        life = f"{member.name}:{member.pid}"
        member.kill()
        self.killed[life] = time.monotonic()
        return life

    def give(self, first: int, many: int, keys: int = KEYS) -> None:
        """Write so much work with consecutive ids, dealt out to the keys in turn."""
        asyncio.run(self._give(first, many, keys))

    @contextmanager
    def load(self, a_second: int, keys: int = KEYS) -> Iterator[Load]:
        """Work that is written all the time, by a thread of its own."""
        with ThreadPoolExecutor(1, "load") as threads:
            load = Load(a_second, keys)
            writing = threads.submit(asyncio.run, load.run(self._publisher()))
            try:
                yield load
            finally:
                load.end()
                writing.result(60)

    async def _give(self, first: int, many: int, keys: int) -> None:
        async with self._publisher() as bus:
            messages = [Work(id=id) for id in range(first, first + many)]
            await bus.publish_many("work", messages, key=key_among(keys), timeout=30)

    def _publisher(self) -> MessageBus:
        """A bus of another service, which only publishes."""
        return MessageBus(
            MessagingSettings(
                bootstrap_servers=self.cluster.bootstrap,
                topic_prefix=self.name,
                consumer_group=f"{self.name}-publisher",
            )
        )

    def history(self) -> History:
        return self.ledger.history(self.killed)

    def written(self, topic: str) -> list[Place]:
        """Where each record of a topic stands, as an independent reader finds it."""
        return [Place(topic, seen.partition, seen.offset) for seen in self.witness.read(topic)]

    def committed(self, topic: str) -> Committed:
        """As an independent reader finds it."""
        found = self.witness.committed(self.group, topic)
        return {(topic, partition): position.offset for partition, position in found.items()}

    def wait_handled(self, many: int, within: float = 60) -> None:
        """Return once so many turns of handlers ended well, repeats included."""
        until(lambda: self.ledger.count("ok") >= many, within, f"{many} records to be handled")

    def wait_all_handled(self, written: list[Place], within: float = 60) -> None:
        def missing() -> int:
            return len(self.history().unhandled(written))

        try:
            until(lambda: not missing(), within, "every record to be handled")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {missing()} of {len(written)} are missing") from None


class Load:
    """Writes work in small rounds until it is ended; remembers what the cluster acknowledged."""

    def __init__(self, a_second: int, keys: int) -> None:
        self.acknowledged: list[Receipt] = []
        self.failures: list[str] = []
        self._round = max(1, a_second // 20)
        self._keys = keys
        self._ends = threading.Event()

    def end(self) -> None:
        self._ends.set()

    async def run(self, publisher: MessageBus) -> None:
        async with publisher as bus:
            for first in itertools.count(0, self._round):
                if self._ends.is_set():
                    return
                messages = [Work(id=id) for id in range(first, first + self._round)]
                try:
                    self.acknowledged += await bus.publish_many(
                        "work", messages, key=key_among(self._keys), timeout=30
                    )
                except PublishError as error:
                    self.failures.append(str(error))
                await asyncio.sleep(0.05)  # simulates work: customers who come one after another


def key_among(keys: int) -> Callable[[Work], str]:
    """So that neighbours have different keys, and may be handled side by side."""
    return lambda message: f"key-{message.id % keys}"


def kill_brokers(cluster: Cluster) -> float:
    """SIGKILL to all of them; when (CLOCK_MONOTONIC) that was."""
    if not cluster.brokers:
        pytest.skip("the brokers of a cluster that was named may not be killed")
    at = time.monotonic()
    for broker in cluster.brokers:
        broker.kill()
    return at


@pytest.fixture
def crew(kafka: Cluster, unique: str, tmp_path: Path) -> Iterator[Crew]:
    """On one broker."""
    with ExitStack() as ends:
        yield Crew(kafka, unique, tmp_path, ends)


@pytest.fixture
def crew_on_three(kafka_cluster: Cluster, unique: str, tmp_path: Path) -> Iterator[Crew]:
    """On three brokers."""
    with ExitStack() as ends:
        yield Crew(kafka_cluster, unique, tmp_path, ends)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Tells a line of figures, whether or not the test passes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    assert capture is not None
    assert terminal is not None

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.write_line(f"\n{request.node.name}: {line}")

    return tell
