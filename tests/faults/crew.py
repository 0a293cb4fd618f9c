"""A crew: processes around one topic of work, the load that keeps them busy, and what they noted."""

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

from convex_messaging_fastapi import (
    ConvexMessage,
    MessageBus,
    MessagingSettings,
    PublishError,
    PublishUnknown,
)
from tests.faults.evidence import FAILED, OK, UNKNOWN, Produced
from tests.support.guarded import Access
from tests.support.independent import Independent
from tests.support.ledgers import History, Place, Reader
from tests.support.proxied import Proxied
from tests.support.services import Service
from tests.support.waiting import until
from tools.kafka.cluster import Cluster

APP = "tests.faults.app:app"
PARTITIONS = 4
OFFSETS = "__consumer_offsets"
KEYS = 200
CANARY = "what-no-log-may-tell"
"""A part of every payload of a load."""
PATIENCE_SECONDS = 20.0
"""How long a load waits for the outcome of one message."""

Committed = dict[tuple[str, int], int]


class Work(ConvexMessage):
    """As the app knows it; importing that would read its environment."""

    id: int
    memo: str = ""


class Crew:
    """Processes of one group on one cluster, the topics they work on, and their common ledger."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        folder: Path,
        ends: ExitStack,
        app: str = APP,
        *,
        access: Access | None = None,
        network: Proxied | None = None,
    ) -> None:
        self.cluster = cluster
        self.witness = Independent(cluster.witnessed)
        self.name = name
        self.group = f"{name}-crew"
        self.ledger = Reader(folder / "ledger")
        self.killed: dict[str, float] = {}
        """When members were killed, by their names in the ledger."""
        self._folder = folder
        self._ends = ends
        self._app = app
        self.access = access
        """What its members may do, where not everybody may do everything."""
        self.network = network
        """Their way to the brokers, where it leads through proxies."""

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
            **(self.access.user.environment if self.access else {}),
            **{variable: str(value) for variable, value in settings.items()},
        }
        hired = Service(self._folder, environment, app=self._app, name=name)
        self._ends.callback(hired.kill)
        return hired

    def kill(self, member: Service) -> str:
        """SIGKILL; the name in the ledger of the life that ended so."""
        member.kill()
        return self.mourn(member)

    def mourn(self, member: Service) -> str:
        """It has ended, not in order; the name in the ledger of the life that ended so."""
        life = f"{member.name}:{member.pid}"
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
        """A bus of another service, which only publishes; it comes by the tests' door where there is one."""
        return MessageBus(
            MessagingSettings(
                bootstrap_servers=self.cluster.bootstrap if self.access is None else self.cluster.witnessed,
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
    """Writes work in small rounds until it is ended; remembers what it was told of every message."""

    def __init__(self, a_second: int, keys: int) -> None:
        self.produced: list[Produced] = []
        self.failures: list[str] = []
        self._round = max(1, min(keys, a_second // 20))
        self._keys = keys
        self._ends = threading.Event()

    @property
    def acknowledged(self) -> list[Produced]:
        return [sent for sent in self.produced if sent.outcome == OK]

    def end(self) -> None:
        self._ends.set()

    async def run(self, publisher: MessageBus) -> None:
        """A round has no key twice, and ends before the next begins: so ids of a key rise in the log."""
        async with publisher as bus:
            for first in itertools.count(0, self._round):
                if self._ends.is_set():
                    return
                self.produced += await asyncio.gather(
                    *(self._send(bus, id) for id in range(first, first + self._round))
                )
                await asyncio.sleep(0.05)  # simulates work: customers who come one after another

    async def _send(self, bus: MessageBus, id: int) -> Produced:
        message = Work(id=id, memo=CANARY)
        key, began = key_among(self._keys)(message), time.monotonic()
        try:
            receipt = await bus.publish("work", message, key=key, timeout=PATIENCE_SECONDS)
        except PublishError as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            outcome = UNKNOWN if isinstance(error, PublishUnknown) else FAILED
            return Produced(id, key, began, time.monotonic(), outcome)
        return Produced(id, key, began, time.monotonic(), OK, receipt.partition, receipt.offset)


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


def coordinating(group: str) -> int:
    """The partition of the offsets topic that a group belongs to: Java's hash of its name, unsigned."""
    hashed = 0
    for character in group:
        hashed = (31 * hashed + ord(character)) & 0xFFFFFFFF
    return (hashed & 0x7FFFFFFF) % 4
