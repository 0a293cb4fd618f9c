"""On a real Kafka a filtered half is replayed, seen elsewhere, killed half-way, and gone on with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from convex_messaging_fastapi import MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.parts import transport_for
from tests.console.support import PREFIX, SAME_SITE, Page
from tests.support.services import Service
from tests.support.waiting import until
from tools.kafka.cluster import Cluster

APP = "tests.console.served:app"
SEEN_SECONDS = 5.0
FIRST_BYTE_RATIO = 3.0

pytestmark = pytest.mark.timeout(600)


class Browser:
    """Somebody before the console of one process."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._client = httpx.Client(base_url=service.address, headers={"x-user": "ada"}, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def get(self, path: str) -> httpx.Response:
        return self._client.get(PREFIX + path)

    def told(self, path: str) -> Any:
        return self.get(f"/api{path}").raise_for_status().json()

    def matched(self, query: str) -> int:
        answer = self.get(f"/api/dead-letters?limit=0&{query}")
        return int(answer.json()["matched"]) if answer.status_code == 200 else -1

    def press(self, path: str) -> str:
        """Confirm it; the address of the job."""
        form = Page(self.get(path).raise_for_status().text).form("post")
        pressed = self._client.post(form.action, data=dict(form.fields), headers=SAME_SITE)
        assert pressed.status_code == 303, pressed.text
        return pressed.headers["location"].removeprefix(PREFIX)

    def seconds_to_the_list(self) -> float:
        self.get(
            "/dead-letters/list?text=nowhere"
        ).raise_for_status()  # so that the next is a scan of its own
        began = time.monotonic()
        with self._client.stream("GET", f"{PREFIX}/dead-letters/list") as answer:
            answer.raise_for_status()
            next(answer.iter_bytes())
            return time.monotonic() - began


@pytest.fixture
def two(kafka: Cluster, unique: str, tmp_path: Path) -> Iterator[tuple[Browser, Browser]]:
    """Two processes of one service."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC_PREFIX": unique,
        "KAFKA_CONSUMER_GROUP": unique,
        "KAFKA_CREATE_TOPICS": "true",
        "KAFKA_SESSION_TIMEOUT_MS": "6000",
    }
    services = [Service(tmp_path, environment, app=APP, name=name) for name in ("one", "two")]
    try:
        for service in services:
            service.start().wait_ready()
        with Browser(services[0]) as one, Browser(services[1]) as other:
            yield one, other
    finally:
        for service in services:
            service.kill()


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_filtered_half_is_replayed_killed_half_way_and_gone_on_with_elsewhere(
    two: tuple[Browser, Browser], kafka: Cluster, unique: str, count: int
) -> None:
    one, other = two
    half = count // 2
    for topic in ("cards", "banks"):
        for _ in range(half // 100):
            one.service.post(f"/publish/{topic}/100", None)
    until(lambda: one.matched("handler=card") + one.matched("handler=bank") == count, 120, "the letters")
    for browser in two:
        browser.service.post("/mend", None)

    job = one.press(f"/dead-letters/replay?handler=card&rate={max(20, half // 6)}")
    pressed = time.monotonic()
    until(lambda: other.get(f"/api{job}").status_code == 200, 10, "the other process to see it")
    assert time.monotonic() - pressed < SEEN_SECONDS
    seen = set[int]()

    def is_a_third_done() -> bool:
        seen.add(done := int(one.told(job)["done"]))
        return done > half // 3

    until(is_a_third_done, 60, "a third of it")
    assert len(seen) > 2, seen
    one.service.kill()

    until(lambda: other.told(job)["status"] == "interrupted", 30, "it to be seen as interrupted")
    page = Page(other.get(job).text)
    assert "Run it again: what it has done stays done" in page.text
    (again,) = (link.removeprefix(PREFIX) for link in page.links() if "/dead-letters/replay" in link)
    left = Page(other.get(again).text)
    assert "would go to the handlers that failed" in left.text
    last = other.press(again)
    until(lambda: other.told(last)["status"] == "done", 120, "the rest of it")
    first, second = other.told(job), other.told(last)
    assert first["done"] < half
    until(lambda: other.matched("handler=card&state=replayed") == half, 60, "all to be handled")
    # What was done in the last second before the kill, the job itself had no time to tell.
    assert 0 < second["selected"] <= half - first["done"]
    copies, _ = asyncio.run(_read(kafka, f"{unique}.{unique}.replay"))
    assert copies == half
    assert (other.matched("handler=card"), other.matched("handler=bank")) == (0, half)


@pytest.mark.cpu
@pytest.mark.long
def test_the_list_of_ten_thousand_begins_in_three_times_a_raw_scan(
    two: tuple[Browser, Browser], kafka: Cluster, unique: str
) -> None:
    one, _ = two
    for _ in range(100):
        one.service.post("/publish/banks/100", None)
    until(lambda: one.matched("") == 10_000, 120, "the letters")
    scans = [asyncio.run(_read(kafka, f"{unique}.dlq")) for _ in range(5)]
    assert {read for read, _ in scans} == {10_000}
    raw = min(seconds for _, seconds in scans)
    shown = min(one.seconds_to_the_list() for _ in range(5))
    print(f"raw scan {raw:.3f} s, first byte of the list {shown:.3f} s")  # noqa: T201
    assert shown <= FIRST_BYTE_RATIO * raw


async def _read(kafka: Cluster, topic: str) -> tuple[int, float]:
    """How many committed records it has, and the seconds to read every one and do nothing with any."""
    transport = transport_for(MessagingSettings(bootstrap_servers=kafka.bootstrap), SystemClock())
    reader, read = transport.log_reader(), 0
    began = time.monotonic()
    async with aclosing(reader.read(await reader.ranges(topic))) as lists:
        async for records in lists:
            read += len(records)
    return read, time.monotonic() - began
