"""A folder with an app in it, and the command line in it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from convex_messaging_fastapi.cli.tree import run
from tests.cli.calls import Cli, Ran
from tests.support.services import OURS
from tests.support.wire import WireCluster, wire_cluster

APP = """
from decimal import Decimal

from fastapi import FastAPI

from convex_messaging_fastapi import Batch, ConvexMessage, MessageBus, MessagingRouter, Retry


class OrderPlaced(ConvexMessage):
    order_id: int
    amount: Decimal


bus = MessageBus()
app = FastAPI()
app.include_router(MessagingRouter(bus))


@bus.subscriber("orders", id="take-payment", retry=Retry(attempts=5), timeout=2.5)
async def take_payment(order: OrderPlaced) -> None: ...


@bus.subscriber("orders", id="count", group="counting", batch=Batch(50))
async def count(orders: list[OrderPlaced]) -> None: ...


@bus.receiver("invoices", id="print-invoice")
async def print_invoice(invoice: dict[str, str]) -> None: ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, empty; nothing of the environment is read, and no module of it stays loaded."""
    for name in os.environ:
        if name.upper().startswith((*OURS, "CONVEX_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def shop(folder: Path) -> Path:
    """The folder, with an app in its `main.py`."""
    (folder / "main.py").write_text(APP)
    return folder


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """In this process, through pipes."""
    loggers = [logging.getLogger(name) for name in ("convex_messaging_fastapi", "aiokafka")]
    kept = [(each, each.level, each.propagate, each.handlers[:]) for each in loggers]

    def call(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["convex-messaging", *arguments])
        code = run()
        return Ran(code, *capsys.readouterr())

    yield call
    for logger, level, propagate, handlers in kept:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


@pytest.fixture
def wire() -> Iterator[WireCluster]:
    """One broker with the topic `convex.orders` of two partitions."""
    with wire_cluster() as cluster:
        cluster.topic("convex.orders", partitions=2)
        yield cluster
