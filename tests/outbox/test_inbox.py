"""A handler with an inbox changes its database once for each message, however often that is delivered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends
from sqlalchemy import Engine, String, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from convex_messaging_fastapi import ConfigurationError, Delivery, MessageBus, MessagingSettings, Retry
from convex_messaging_fastapi.outbox import Inbox, MessagingTables, claiming
from tests.outbox.test_outbox import BLOCKING, DATABASES

SETTINGS = MessagingSettings(bootstrap_servers="memory://", consumer_group="shop")


class Base(DeclarativeBase):
    pass


class Effect(Base):
    """What a handler does: a row for each time."""

    __tablename__ = "effects"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    said: Mapped[str] = mapped_column(String(300))


tables = MessagingTables(Base.metadata)


@pytest.fixture(params=DATABASES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}"
    if request.param != "sqlite":
        url = request.getfixturevalue(request.param).async_url
    pool = {} if request.param == "sqlite" else {"pool_size": 15}  # SQLAlchemy 2.0 has no pool for its files
    engine = create_async_engine(url, **pool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()


@pytest.fixture
def inbox(engine: AsyncEngine) -> Inbox:
    return Inbox(tables, async_sessionmaker(engine, expire_on_commit=False))


async def effects(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list((await connection.execute(select(Effect.said).order_by(Effect.id))).scalars())


async def noted(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(tables.inbox))).scalar_one()


async def test_a_message_that_comes_again_has_no_second_effect(engine: AsyncEngine, inbox: Inbox) -> None:
    bus = MessageBus(SETTINGS)

    @bus.subscriber("bet.placed", id="settle")
    async def settle(bet: str, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        db.add(Effect(said=bet))

    @bus.subscriber("bet.placed", id="audit")
    async def audit(bet: str, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        db.add(Effect(said=f"audit {bet}"))

    async with bus.test() as t:
        for _ in range(3):
            await bus.publish("bet.placed", "first", headers={"message-id": "1"})
        await bus.publish("bet.placed", "second")
        await t.settle()
        status = {each.id: each for worker in bus.status().workers for each in worker.subscriptions}
    assert sorted(await effects(engine)) == ["audit first", "audit second", "first", "second"]
    counts = {id: (each.handled, each.already_handled, each.discarded) for id, each in status.items()}
    assert counts == {"settle": (2, 2, 0), "audit": (2, 2, 0)}


async def test_what_failed_was_not_handled_and_a_replay_handles_it_once(
    engine: AsyncEngine, inbox: Inbox
) -> None:
    bus, mended = MessageBus(SETTINGS), False

    @bus.subscriber("bet.placed", id="settle", retry=Retry(attempts=2))
    async def settle(bet: str, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        db.add(Effect(said=bet))
        await db.flush()
        if not mended:
            raise ValueError("not yet")

    async with bus.test() as t:
        await bus.publish("bet.placed", "first", headers={"message-id": "1"})
        await t.settle()
        assert (len(t.dead_letters()), await effects(engine), await noted(engine)) == (1, [], 0)
        mended = True
        await t.replay()
        assert await effects(engine) == ["first"]
        await bus.publish("bet.placed", "first", headers={"message-id": "1"})
        await t.settle()
    assert await effects(engine) == ["first"]


@contextmanager
def blocking(engine: AsyncEngine) -> Iterator[Engine]:
    other = create_engine(engine.url.set(drivername=BLOCKING[engine.url.get_backend_name()]))
    yield other
    other.dispose()


async def test_a_handler_that_blocks_has_a_session_that_blocks(engine: AsyncEngine) -> None:
    bus = MessageBus(SETTINGS)
    with blocking(engine) as other:
        inbox = Inbox(tables, sessionmaker(other))  # noqa: F841 - the annotation names it

        @bus.subscriber("bet.placed", id="settle")
        def settle(bet: str, db: Annotated[Session, Depends(inbox.session_sync)]) -> None:
            db.add(Effect(said=bet))

        async with bus.test() as t:
            for _ in range(2):
                await bus.publish("bet.placed", "first", headers={"message-id": "1"})
            await t.settle()
    assert await effects(engine) == ["first"]


def delivery(message_id: str | None, **where: Any) -> Delivery:
    return Delivery.for_test(message_id=message_id, subscription="shop/settle", **where)


async def is_new(engine: AsyncEngine, inbox: Inbox, given: Delivery) -> bool:
    async with AsyncSession(engine) as session, session.begin(), inbox.claim(session, given) as new:
        return new


async def test_ids_that_are_nearly_equal_and_long_ones_stay_apart(engine: AsyncEngine, inbox: Inbox) -> None:
    ids = ["a", "A", "a ", "\u00e4", "x" * 300, "x" * 299 + "y"]
    assert [await is_new(engine, inbox, delivery(each)) for each in ids * 2] == [True] * 6 + [False] * 6


async def test_a_message_without_an_id_is_known_by_its_place(engine: AsyncEngine, inbox: Inbox) -> None:
    places: list[dict[str, Any]] = [
        {"offset": 1},
        {"offset": 2},
        {"offset": 1, "partition": 1},
        {"offset": 1, "topic": "other"},
    ]
    found = [await is_new(engine, inbox, delivery(None, **each)) for each in places * 2]
    assert found == [True] * 4 + [False] * 4


async def test_a_blocking_claim_says_the_same(engine: AsyncEngine) -> None:
    with blocking(engine) as other:
        inbox = Inbox(tables, sessionmaker(other))
        for expected in (True, False):
            with Session(other) as session, session.begin(), inbox.claim_sync(session, delivery("1")) as new:
                assert new is expected


# -- several at once ---------------------------------------------------------------------------

SERVERS = pytest.mark.parametrize("engine", DATABASES[1:], indirect=True)


@SERVERS
async def test_of_ten_that_handle_one_message_at_once_one_has_an_effect(
    engine: AsyncEngine, inbox: Inbox
) -> None:
    async def handle() -> None:
        async with (
            AsyncSession(engine) as session,
            session.begin(),
            inbox.claim(session, delivery("1")) as new,
        ):
            if new:
                session.add(Effect(said="once"))

    await asyncio.gather(*(handle() for _ in range(10)))
    assert await effects(engine) == ["once"]


@SERVERS
async def test_who_looked_first_and_noted_last_would_have_two_effects(engine: AsyncEngine) -> None:
    """The control: why the note is written before the handler runs."""
    both_have_looked = asyncio.Barrier(2)

    async def handle() -> None:
        async with AsyncSession(engine) as session, session.begin():
            seen = await session.execute(select(func.count()).select_from(tables.inbox))
            await both_have_looked.wait()
            if not seen.scalar_one():
                session.add(Effect(said="twice"))
                await session.flush()
                async with Inbox(tables, async_sessionmaker(engine)).claim(session, delivery("1")):
                    pass

    await asyncio.gather(handle(), handle())
    assert await effects(engine) == ["twice", "twice"]


@SERVERS
async def test_who_waits_for_one_that_was_frozen_gives_up_and_is_tried_again(
    engine: AsyncEngine, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "LOCK_SECONDS", 1)
    async with AsyncSession(engine) as frozen:
        await frozen.begin()
        async with inbox.claim(frozen, delivery("1")) as new:
            assert new
        with pytest.raises(DBAPIError, match=r"(?i)lock"):
            await is_new(engine, inbox, delivery("1"))
        await frozen.rollback()
    assert await is_new(engine, inbox, delivery("1"))


async def test_the_patience_of_the_session_is_as_it_was(postgres: Any, mariadb: Any) -> None:
    """Whoever is more patient elsewhere in the transaction, or in the next one, stays so."""
    for database, ask in ((postgres, "show lock_timeout"), (mariadb, "select @@innodb_lock_wait_timeout")):
        engine = create_async_engine(database.async_url)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        inbox = Inbox(tables, async_sessionmaker(engine))
        async with AsyncSession(engine) as session, session.begin():
            before = (await session.execute(text(ask))).scalar()
            async with inbox.claim(session, delivery("1")):
                assert (await session.execute(text(ask))).scalar() == before
        await engine.dispose()


def test_an_inbox_is_made_of_what_it_needs() -> None:
    sessions = async_sessionmaker()
    wrong: Any
    for wrong, said in (
        ((Base.metadata, sessions), "MessagingTables"),
        ((tables, None), "async_sessionmaker"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            Inbox(*wrong)
    for retention in (timedelta(0), 7):
        with pytest.raises(ConfigurationError, match="retention"):
            Inbox(tables, sessions, retention=retention)  # type: ignore[arg-type]


async def test_a_session_of_the_other_kind_is_told_apart() -> None:
    waits, blocks = Inbox(tables, sessionmaker()), Inbox(tables, async_sessionmaker())
    with pytest.raises(ConfigurationError, match="async_sessionmaker"):
        await anext(waits.session(delivery("1")))
    with pytest.raises(ConfigurationError, match="sessionmaker"):
        next(blocks.session_sync(delivery("1")))
