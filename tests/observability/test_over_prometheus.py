"""A real Prometheus scrapes a service, and answers every query of the dashboard; see test_watching_tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.observability.test_watching_tools import DASHBOARD, found, of_the_dashboard
from tests.support.services import service
from tests.support.waiting import until
from tools.kafka.common import HOST, free_ports
from tools.panels import of as answers_of
from tools.panels import picture
from tools.processes import Child

SERVICE = """
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import make_asgi_app
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from convex_messaging_fastapi import MessageBus, MessagingRouter, MessagingSettings, Prometheus, Retry
from convex_messaging_fastapi.outbox import MessagingTables, Outbox

observers = [Prometheus(scan_dead_letters_seconds=1)]
bus = MessageBus(MessagingSettings(bootstrap_servers="memory://", consumer_group="bets"), observers=observers)
tables = MessagingTables(MetaData())
engine = create_async_engine("sqlite+aiosqlite:///shop.db")
outbox = Outbox(bus, engine, tables)

@asynccontextmanager
async def lifespan(app):
    async with engine.begin() as connection:
        await connection.run_sync(tables.outbox.metadata.create_all)
    yield
    await engine.dispose()

app = FastAPI(lifespan=lifespan)
app.include_router(MessagingRouter(bus))
app.mount("/metrics", make_asgi_app())

@bus.subscriber("bet", id="pay", retry=Retry(attempts=2, delay_seconds=0.1))
async def pay(bet: dict) -> None:
    if bet["n"] % 3 == 0:
        raise ValueError(bet["n"])

@app.post("/bets")
async def place(bet: dict) -> None:
    await bus.publish("bet", bet)
    async with engine.begin() as connection:
        await outbox.publish(connection, "bet.placed", bet)
"""

SELDOM = {"Now", "Held partitions A"}
"""Queries that have an answer only in trouble."""


class Scraping:
    """A Prometheus that scrapes one address each second."""

    def __init__(self, folder: Path, target: str) -> None:
        self.address = f"http://{HOST}:{(port := next(free_ports()))}"
        scrape = {"job_name": "shop", "metrics_path": "/metrics/", "static_configs": [{"targets": [target]}]}
        settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
        (folder / "data").mkdir()
        options = (f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}")
        where = f"--web.listen-address={HOST}:{port}"
        self._child = Child((found("prometheus"), *options, where), folder / "prometheus.log")

    def answer(self, query: str) -> list[Any]:
        """Empty as well while it is not there yet. Fails for a query that it does not understand."""
        try:
            told = httpx.get(f"{self.address}/api/v1/query", params={"query": query}, timeout=10)
        except httpx.TransportError:
            return []
        assert told.status_code in (200, 503), told.text
        return json.loads(told.text)["data"]["result"] if told.status_code == 200 else []

    def end(self) -> None:
        self._child.kill()


@pytest.fixture
def scraping(tmp_path: Path) -> Iterator[Scraping]:
    found("prometheus")
    (tmp_path / "shop.py").write_text(SERVICE)
    with service(tmp_path, app="shop:app") as shop:
        shop.wait_ready()
        prometheus = Scraping(tmp_path, shop.address.removeprefix("http://"))
        try:
            for n in range(30):
                shop.post("/bets", {"n": n})
            until(lambda: bool(prometheus.answer("convex_messaging_lag")), 60, "the first scrapes")
            for n in range(30):
                shop.post("/bets", {"n": n})
            until(lambda: bool(prometheus.answer("convex_messaging_dead_letters_open")), 60, "open letters")
            yield prometheus
        finally:
            prometheus.end()


@pytest.mark.faults  # it takes long: a Prometheus starts, and needs several scrapes
def test_every_query_of_the_dashboard_has_an_answer(scraping: Scraping) -> None:
    chosen = {"$__rate_interval": "30s", "$job": ".*", "$group": ".*", "$topic": ".*"}
    for name, query in of_the_dashboard():
        if name.startswith("$") or name in SELDOM:
            continue
        for variable, value in chosen.items():
            query = query.replace(variable, value)
        until(partial(has_answer, scraping, query), 30, f"{name}: {query}")
    drawn = picture(DASHBOARD["panels"], answers_of(scraping.address))
    assert drawn.count("<polyline") > 20  # as the docs show it


def has_answer(scraping: Scraping, query: str) -> bool:
    return bool(scraping.answer(query))
