"""What the stories share: a visitor of the example app, and the app as two processes on a real cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.testing import TestBench
from example_app.main import app, bus
from tests.support.independent import Independent
from tests.support.services import Service, service
from tests.support.waiting import until
from tools.kafka.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who talks to the example app in this process, and may turn its clock."""

    http: httpx.AsyncClient
    bench: TestBench

    async def get(self, path: str) -> Any:
        return (await self.http.get(path)).raise_for_status().json()

    async def post(self, path: str, **body: Any) -> Any:
        return (await self.http.post(path, json=body)).raise_for_status().json()


@pytest.fixture
async def visitor() -> AsyncIterator[Visitor]:
    """The whole example app on the in-process broker, with a clock that only the test turns."""
    transport = httpx.ASGITransport(app)
    async with (
        bus.test(app) as bench,
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://bets") as http,
    ):
        yield Visitor(http, bench)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Two processes of the example app in one group, with one database, on a real cluster."""

    services: tuple[Service, Service]
    prefix: str
    group: str
    witness: Independent

    def publisher(self) -> MessageBus:
        """A bus of another service, which only publishes."""
        bootstrap = self.services[0].environment["KAFKA_BOOTSTRAP_SERVERS"]
        return MessageBus(
            MessagingSettings(
                bootstrap_servers=bootstrap, topic_prefix=self.prefix, consumer_group="publisher"
            )
        )

    def wait_shared(self) -> None:
        """Return once each process holds partitions of every topic, so that nothing moves any more."""
        until(self._is_shared, 30, "both processes to hold partitions of every topic")

    def _is_shared(self) -> bool:
        """A process without partitions would say `standby`."""
        return all(process.said("/health/kafka") == '{"status":"up"}' for process in self.services)

    def handled(self) -> dict[str, tuple[int, int]]:
        """For each handler, how many messages it saw, and how often in all."""
        process = next(process for process in self.services if process.alive)
        return {row["handler"]: (row["messages"], row["calls"]) for row in process.get("/handled")}

    def written(self) -> dict[str, int]:
        """How many records the topics of events, welcome commands and dead letters hold."""
        return {
            topic: sum(self.witness.ends(f"{self.prefix}.{topic}").values())
            for topic in ("user.created", "user.notifications", "dlq")
        }

    def unread(self) -> dict[str, int]:
        """How far the committed offsets of events and of welcome commands are from the log's end."""
        groups = {"user.created": self.group, "user.notifications": f"{self.prefix}.user.notifications"}
        return {topic: self.witness.lag(group, f"{self.prefix}.{topic}") for topic, group in groups.items()}


@pytest.fixture
def fleet(kafka_cluster: Cluster, unique: str, tmp_path: Path) -> Iterator[Fleet]:
    """Both processes are ready; they are killed at the end unless they have ended before."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_cluster.bootstrap,
        "KAFKA_TOPIC_PREFIX": unique,
        "KAFKA_CONSUMER_GROUP": f"{unique}-bets",
        "EXAMPLE_DATABASE": str(tmp_path / "bets.sqlite"),
    }
    with ExitStack() as ends:
        first, second = (ends.enter_context(service(tmp_path, environment, name=n)) for n in ("one", "two"))
        fleet = Fleet((first, second), unique, f"{unique}-bets", Independent(kafka_cluster.bootstrap))
        for process in fleet.services:
            process.wait_ready(60)
        yield fleet
