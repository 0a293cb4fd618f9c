"""A message is in the outbox exactly if the caller's transaction commits, after what it tells of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, event, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from convex_messaging_fastapi import (
    ConfigurationError,
    ConvexMessage,
    EncodeError,
    MessageBus,
    MessageTooLarge,
    MessagingSettings,
    Middleware,
)
from convex_messaging_fastapi.middleware import Outgoing, PublishNext, Receipts
from convex_messaging_fastapi.outbox import MessagingTables, Outbox
from convex_messaging_fastapi.outbox.rows import read_headers
from tests.support.waiting import eventually

SETTINGS = MessagingSettings(bootstrap_servers="memory://")


class Base(DeclarativeBase):
    pass


class Bet(Base):
    __tablename__ = "bets"
    id: Mapped[int] = mapped_column(primary_key=True)


class BetPlaced(ConvexMessage):
    bet: int


tables = MessagingTables(Base.metadata)


def begin_as_told(engine: Engine) -> None:
    """Python's driver would not begin before a savepoint, so that the release of that would commit."""

    def leave_that_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    event.listen(engine, "connect", leave_that_to_us)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))


DATABASES = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]

BLOCKING = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}


@pytest.fixture(params=DATABASES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'bets.db'}"
    if request.param != "sqlite":
        url = request.getfixturevalue(request.param).async_url
    engine = create_async_engine(url)
    if request.param == "sqlite":
        begin_as_told(engine.sync_engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()


@contextmanager
def blocking(engine: AsyncEngine) -> Iterator[Engine]:
    """The same database, for a session that blocks."""
    other = create_engine(engine.url.set(drivername=BLOCKING[engine.url.get_backend_name()]))
    yield other
    other.dispose()


def told(value: str | bytes) -> str:
    """As text: what is compared exactly is bytes on MariaDB."""
    return value if isinstance(value, str) else value.decode()


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(MessageBus(SETTINGS), engine, tables)


async def rows(engine: AsyncEngine) -> list[Any]:
    async with engine.connect() as connection:
        return list(await connection.execute(select(tables.outbox).order_by(tables.outbox.c.id)))


async def test_a_row_is_the_record_that_the_bus_would_have_written(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    async with AsyncSession(engine) as session:
        message_id = await outbox.publish(
            session,
            "bet.placed",
            BetPlaced(bet=1),
            key="7",
            headers={"from": "web"},
            correlation_id="request",
        )
        await session.commit()
    (row,) = await rows(engine)
    headers = dict(read_headers(row.headers))
    assert (row.record_key, row.value, row.state) == (b"7", b'{"Bet":1}', 0)
    assert (told(row.topic), told(row.message_id)) == ("convex.bet.placed", message_id)
    assert headers["message-id"] == message_id.encode()
    assert (headers["from"], headers["correlation-id"], headers["message-type"]) == (
        b"web",
        b"request",
        b"BetPlaced",
    )


async def in_a_session(engine: AsyncEngine, outbox: Outbox, autoflush: bool = True) -> None:
    async with AsyncSession(engine, autoflush=autoflush) as session:
        session.add(Bet(id=1))
        await outbox.publish(session, "bet.placed", BetPlaced(bet=1))
        await session.commit()


async def in_a_session_without_autoflush(engine: AsyncEngine, outbox: Outbox) -> None:
    await in_a_session(engine, outbox, autoflush=False)


async def in_a_connection(engine: AsyncEngine, outbox: Outbox) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(Bet).values(id=1))
        await outbox.publish(connection, "bet.placed", BetPlaced(bet=1))


async def in_a_session_that_blocks(engine: AsyncEngine, outbox: Outbox) -> None:
    with blocking(engine) as other, Session(other, autoflush=False) as session:
        session.add(Bet(id=1))
        outbox.publish_sync(session, "bet.placed", BetPlaced(bet=1))
        session.commit()


async def in_a_savepoint(engine: AsyncEngine, outbox: Outbox) -> None:
    async with AsyncSession(engine) as session:
        async with session.begin_nested():
            session.add(Bet(id=1))
            await outbox.publish(session, "bet.placed", BetPlaced(bet=1))
        await session.commit()


ways = pytest.mark.parametrize(
    "write",
    [
        in_a_session,
        in_a_session_without_autoflush,
        in_a_connection,
        in_a_session_that_blocks,
        in_a_savepoint,
    ],
)
Write = Callable[[AsyncEngine, Outbox], Awaitable[None]]


@ways
async def test_what_a_message_tells_of_is_written_before_it(
    engine: AsyncEngine, outbox: Outbox, write: Write
) -> None:
    written: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        written.extend(name for name in ("bets", "messaging_outbox") if f"INSERT INTO {name}" in statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await write(engine, outbox)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert written == ["bets", "messaging_outbox"]
    assert len(await rows(engine)) == 1


async def rolled_back(engine: AsyncEngine, outbox: Outbox) -> None:
    async with AsyncSession(engine) as session:
        await outbox.publish(session, "bet.placed", BetPlaced(bet=1))
        await session.rollback()


async def a_savepoint_rolled_back(engine: AsyncEngine, outbox: Outbox) -> None:
    async with AsyncSession(engine) as session:
        savepoint = await session.begin_nested()
        await outbox.publish(session, "bet.placed", BetPlaced(bet=1))
        await savepoint.rollback()
        await session.commit()


async def an_outer_transaction_rolled_back(engine: AsyncEngine, outbox: Outbox) -> None:
    async with engine.connect() as connection:
        outer = await connection.begin()
        async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
            await outbox.publish(session, "bet.placed", BetPlaced(bet=1))
            await session.commit()
        await outer.rollback()


@pytest.mark.parametrize("write", [rolled_back, a_savepoint_rolled_back, an_outer_transaction_rolled_back])
async def test_what_is_rolled_back_leaves_no_message(
    engine: AsyncEngine, outbox: Outbox, write: Write
) -> None:
    await write(engine, outbox)
    assert await rows(engine) == []


async def test_many_messages_are_rows_in_their_order(engine: AsyncEngine, outbox: Outbox) -> None:
    async with AsyncSession(engine) as session:
        ids = await outbox.publish_many(
            session,
            "bet.placed",
            [BetPlaced(bet=n) for n in range(2_500)],
            key=lambda event: str(event.bet % 8),
        )
        await session.commit()
    kept = await rows(engine)
    assert [told(row.message_id) for row in kept] == ids
    assert [row.value for row in kept[:2]] == [b'{"Bet":0}', b'{"Bet":1}']
    assert len({row.lane for row in kept}) <= 8


async def test_a_command_a_tombstone_and_an_id_of_ones_own(engine: AsyncEngine, outbox: Outbox) -> None:
    async with AsyncSession(engine) as session:
        assert await outbox.send(session, "pay", {"id": 1}, message_id="mine") == "mine"
        await outbox.tombstone(session, "accounts", key="7", message_id="gone")
        await session.commit()
    sent, gone = await rows(engine)
    assert (told(sent.topic), told(sent.message_id)) == ("convex.pay", "mine")
    assert (gone.value, gone.record_key, told(gone.message_id)) == (None, b"7", "gone")


class Stamped(Middleware):
    async def publish(self, outgoing: Outgoing, call_next: PublishNext) -> Receipts:
        return await call_next(replace(outgoing, headers={**outgoing.headers, "stamp": "yes"}))


async def test_the_middleware_of_the_bus_wraps_it(engine: AsyncEngine) -> None:
    outbox = Outbox(MessageBus(SETTINGS, middleware=[Stamped()]), engine, tables)
    with blocking(engine) as other, Session(other) as session:
        outbox.publish_sync(session, "bet.placed", BetPlaced(bet=1))
        session.commit()
    (row,) = await rows(engine)
    assert dict(read_headers(row.headers))["stamp"] == b"yes"


async def test_what_cannot_be_published_is_refused_at_once(engine: AsyncEngine) -> None:
    settings = MessagingSettings(bootstrap_servers="memory://", max_message_bytes=1_024)
    outbox = Outbox(MessageBus(settings), engine, tables)
    async with AsyncSession(engine) as session:
        with pytest.raises(EncodeError):
            await outbox.publish(session, "bet.placed", object())
        with pytest.raises(MessageTooLarge, match="max_message_bytes"):
            await outbox.publish(session, "bet.placed", "x" * 2_000)
        with pytest.raises(ConfigurationError, match=r"dlq"):
            await outbox.publish(session, "dlq", "x")
        await session.commit()
    assert await rows(engine) == []


async def test_a_session_that_cannot_be_rolled_back_is_refused(engine: AsyncEngine, outbox: Outbox) -> None:
    message = BetPlaced(bet=1)
    async with AsyncSession(engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            await outbox.publish(session, "bet.placed", message)
    always = create_async_engine(engine.url, isolation_level="AUTOCOMMIT")
    async with AsyncSession(always) as session:
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            await outbox.publish(session, "bet.placed", message)
    await always.dispose()
    async with AsyncSession(engine, twophase=True) as session:
        with pytest.raises(ConfigurationError, match="two phases"):
            await outbox.publish(session, "bet.placed", message)
    assert await rows(engine) == []


async def test_a_session_of_the_wrong_kind_is_told_the_right_verb(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    wrong: Any
    for wrong, said in ((Session(), "publish_sync"), (engine, "AsyncSession"), (None, "AsyncSession")):
        with pytest.raises(ConfigurationError, match=said):
            await outbox.publish(wrong, "bet.placed", BetPlaced(bet=1))
    for wrong, said in ((AsyncSession(engine), "await outbox.publish"), (engine, "your Session")):
        with pytest.raises(ConfigurationError, match=said):
            outbox.publish_sync(wrong, "bet.placed", BetPlaced(bet=1))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (lambda e: (None, e, tables), "MessageBus"),
        (lambda e: (MessageBus(SETTINGS), e.sync_engine, tables), "AsyncEngine"),
        (lambda e: (MessageBus(SETTINGS), e, Base.metadata), "MessagingTables"),
    ],
)
def test_an_outbox_is_made_of_what_it_needs(
    engine: AsyncEngine, arguments: Callable[[AsyncEngine], Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Outbox(*arguments(engine))


def test_tables_may_have_another_prefix_and_schema_and_are_no_tables_of_anything_else() -> None:
    metadata = MetaData()
    Table("own", metadata, Column("id", Integer, primary_key=True))
    made = MessagingTables(metadata, schema="messages", prefix="bets")
    assert {table.fullname for table in (made.outbox, made.lease, made.inbox)} == {
        "messages.bets_outbox",
        "messages.bets_lease",
        "messages.bets_inbox",
    }
    for wrong in ("two words", "", None):
        with pytest.raises(ConfigurationError, match="prefix"):
            MessagingTables(MetaData(), prefix=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"Base\.metadata"):
        MessagingTables(Base)  # type: ignore[arg-type]


IDS = ["a", "A", "a ", "ä", "x" * 300, "x" * 299 + "y"]


async def test_ids_that_are_nearly_equal_and_long_ones_stay_apart(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    async with AsyncSession(engine) as session:
        for each in IDS:
            assert await outbox.publish(session, "bet.placed", "x", message_id=each) == each
        await session.commit()
    kept = await rows(engine)
    assert [dict(read_headers(row.headers))["message-id"] for row in kept] == [each.encode() for each in IDS]
    wanted, id_of = tables.outbox.c, {told(row.message_id): row.id for row in kept}
    assert len(id_of) == len(IDS)
    async with engine.connect() as connection:
        for each, id in id_of.items():
            exact = each if isinstance(kept[0].message_id, str) else each.encode()
            found = await connection.execute(select(wanted.id).where(wanted.message_id == exact))
            assert found.scalars().all() == [id]


async def test_a_message_of_five_megabytes_is_a_row(engine: AsyncEngine, outbox: Outbox) -> None:
    value = b"\x00\xff" * 2_500_000
    async with AsyncSession(engine) as session:
        await outbox.publish(session, "bet.placed", value, key=b"\xff\x00", headers={"raw": b"\xff"})
        await session.commit()
    (row,) = await rows(engine)
    assert row.value == value
    assert row.record_key == b"\xff\x00"
    assert dict(read_headers(row.headers))["raw"] == b"\xff"


async def test_who_asks_for_order_waits_for_the_transaction_that_has_the_key(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    """The first has written and not committed; the second of its key must not be numbered before it ends."""
    backend = engine.url.get_backend_name()
    async with AsyncSession(engine) as first, AsyncSession(engine) as second:
        if backend == "mariadb":
            with pytest.raises(ConfigurationError, match="FOR UPDATE"):
                await outbox.publish(first, "bet.placed", 1, key="7", ordered=True)
            return
        with pytest.raises(ConfigurationError, match="needs a key"):
            await outbox.publish(first, "bet.placed", 1, ordered=True)
        await outbox.publish(first, "bet.placed", 1, key="7", ordered=True)
        if backend == "postgresql":
            another = asyncio.ensure_future(outbox.publish(second, "bet.placed", 2, key="7", ordered=True))
            await until_somebody_waits_for_a_lock(engine)
            async with AsyncSession(engine) as third:
                await outbox.publish(third, "bet.placed", 3, key="8", ordered=True)
                await third.commit()
            await first.commit()
            await another
            await second.commit()
            assert [row.value for row in await rows(engine)] == [b"1", b"3", b"2"]


async def until_somebody_waits_for_a_lock(engine: AsyncEngine) -> None:
    with blocking(engine) as other, other.connect() as connection:
        waiting = text("select 1 from pg_locks where not granted")
        await eventually(lambda: connection.execute(waiting).first(), 10, "somebody to wait for a lock")
