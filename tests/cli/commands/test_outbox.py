"""`outbox` and `relay`: what waits in a database, who relays it, and what cannot be published."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert
from sqlalchemy.pool import NullPool

from convex_messaging_fastapi.outbox.tables import PARKED
from tests.cli.calls import MODULE, Cli
from tests.support.services import Service
from tests.support.waiting import until
from tests.support.wire import WireCluster
from tools.kafka.common import HOST

APP = """
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.outbox import MessagingTables, Outbox

bus = MessageBus()
metadata = MetaData()
tables = MessagingTables(metadata)
outbox = Outbox(bus, create_async_engine("sqlite+aiosqlite:///{path}"), tables, relay=False)
"""


@pytest.fixture
def name(folder: Path, request: pytest.FixtureRequest) -> str:
    """Of a module with an outbox, whose tables are there."""
    module = f"shop_{abs(hash(request.node.name)) % 10**9}"
    (folder / f"{module}.py").write_text(APP.format(path=folder / "shop.db"))
    return module


def put(folder: Path, *values: str, state: int = PARKED) -> list[int]:
    from sqlalchemy import MetaData

    from convex_messaging_fastapi.outbox import MessagingTables

    metadata = MetaData()
    tables = MessagingTables(metadata)
    engine = create_engine(f"sqlite:///{folder / 'shop.db'}", poolclass=NullPool)
    metadata.create_all(engine)
    rows = [
        {
            "lane": 1,
            "state": state,
            "topic": "convex.boxed-orders",
            "record_key": b"7",
            "value": value.encode(),
            "headers": "[]",
            "message_id": value,
            "error": "MessageTooLarge: too large",
        }
        for value in values
    ]
    with engine.begin() as connection:
        made = [connection.execute(insert(tables.outbox).values(row)).inserted_primary_key for row in rows]
        return [key[0] for key in made if key is not None]


def test_what_waits_is_shown_and_that_nobody_relays_it(cli: Cli, folder: Path, name: str) -> None:
    put(folder, "a", "b")
    ran = cli("outbox", "status", f"{name}:outbox", "--json")
    assert ran.code == 1
    assert (ran.json["parked"], ran.json["pending"], ran.json["relays"]) == (2, 0, 0)
    assert "relays that live" in cli("outbox", "status", f"{name}:outbox").out


def test_parked_messages_are_listed_with_their_errors(cli: Cli, folder: Path, name: str) -> None:
    first, _ = put(folder, "a", "b")
    ran = cli("outbox", "parked", f"{name}:outbox", "--json")
    assert (ran.code, ran.json[0]["id"], ran.json[0]["message_id"]) == (0, first, "a")
    assert "MessageTooLarge" in cli("outbox", "parked", f"{name}:outbox", "--limit", "1").out


@pytest.mark.parametrize("verb", ["replay", "drop"])
def test_nothing_is_changed_until_yes(cli: Cli, folder: Path, name: str, verb: str) -> None:
    first, _ = put(folder, "a", "b")
    told = cli("outbox", verb, f"{name}:outbox", str(first))
    assert (told.code, "--yes does it" in told.out) == (0, True)
    assert len(cli("outbox", "parked", f"{name}:outbox", "--json").json) == 2
    done = cli("outbox", verb, f"{name}:outbox", str(first), "--yes", "--json")
    assert (done.code, done.json["messages"], done.json["done"]) == (0, 1, True)
    left = cli("outbox", "parked", f"{name}:outbox", "--json").json
    assert [each["message_id"] for each in left] == ["b"]
    pending = cli("outbox", "status", f"{name}:outbox", "--json").json["pending"]
    assert pending == (1 if verb == "replay" else 0)


def test_all_are_replayed(cli: Cli, folder: Path, name: str) -> None:
    put(folder, "a", "b")
    assert cli("outbox", "replay", f"{name}:outbox", "--all", "--yes").code == 0
    assert cli("outbox", "status", f"{name}:outbox", "--json").json["pending"] == 2


@pytest.mark.parametrize(("words", "code"), [((), 2), (("1", "--all"), 2), (("999",), 5)])
def test_who_does_not_say_which_is_asked(
    cli: Cli, folder: Path, name: str, words: tuple[str, ...], code: int
) -> None:
    put(folder, "a")
    assert cli("outbox", "drop", f"{name}:outbox", *words, "--yes").code == code


def test_what_is_no_outbox_is_refused(cli: Cli, folder: Path, name: str) -> None:
    assert "not an Outbox" in cli("outbox", "status", f"{name}:bus").err
    assert cli("outbox", "status", name).code == 2


def test_a_database_that_cannot_be_asked_is_away(cli: Cli, folder: Path, name: str) -> None:
    ran = cli("outbox", "status", f"{name}:outbox")  # without its tables
    assert (ran.code, "cannot be asked" in ran.err) == (3, True)


def test_a_relay_in_a_process_of_its_own_publishes_and_ends_with_a_signal(
    folder: Path, name: str, wire: WireCluster
) -> None:
    put(folder, "a", "b", state=0)
    wire.topic("convex.boxed-orders", partitions=1)
    running = Service(
        folder,
        {"KAFKA_BOOTSTRAP_SERVERS": wire.bootstrap_servers},
        app=f"{name}:outbox",
        command=lambda app, port: (MODULE[2], "relay", app, "--host-health", f"{HOST}:{port}"),
    ).start()
    with_engine = create_engine(f"sqlite:///{folder / 'shop.db'}", poolclass=NullPool)

    def is_empty() -> bool:
        with with_engine.connect() as connection:
            return not connection.exec_driver_sql("select count(*) from messaging_outbox").scalar()

    try:
        until(is_empty, 20, f"the rows to be published: {running.tail()}")
        assert running.wait_ready().said("/health/kafka/ready")
    finally:
        code = running.terminate()
    assert code == 0, running.tail()
