"""FastAPI's own `Depends` works in handlers as it does in routes, and nothing counts before every exit."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Security
from starlette.requests import HTTPConnection

from convex_messaging_fastapi.consuming.calling import CallContext, compile_call
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.records import Delivery
from tests.consuming.calling.conftest import Call

Log = list[Any]


@pytest.fixture
def log() -> Log:
    return []


def async_yield(name: str, log: Log) -> Callable[..., Any]:
    async def dependency() -> AsyncIterator[str]:
        log.append(f"{name} opens")
        try:
            yield name
        except BaseException as error:
            log.append(f"{name} sees {error!r}")
            raise
        finally:
            log.append(f"{name} closes")

    return dependency


def sync_yield(name: str, log: Log) -> Callable[..., Any]:
    def dependency() -> Iterator[str]:
        log.append(f"{name} opens")
        try:
            yield name
        except BaseException as error:
            log.append(f"{name} sees {error!r}")
            raise
        finally:
            log.append(f"{name} closes")

    return dependency


async def test_dependencies_nest_and_mix_sync_with_async(call: Call, log: Log) -> None:
    def number() -> int:
        return 20

    async def doubled(number: Annotated[int, Depends(number)]) -> int:
        return number * 2

    def plus_two(doubled: int = Depends(doubled)) -> int:
        return doubled + 2

    async def handle(
        event: str, answer: Annotated[int, Depends(plus_two)], *, same: int = Depends(plus_two)
    ) -> None:
        log.append((event, answer, same))

    await call(handle)
    assert log == [("hello", 42, 42)]


async def test_dependencies_may_ask_for_the_delivery_and_the_connection(
    call: Call, app: FastAPI, delivery: Delivery, log: Log
) -> None:
    app.state.pool = "the pool"

    def pool_of(conn: HTTPConnection) -> str:
        return str(conn.app.state.pool)

    async def offset_of(it: Delivery) -> int:
        return it.offset

    async def handle(event: str, pool: str = Depends(pool_of), offset: int = Depends(offset_of)) -> None:
        log.append((pool, offset))

    await call(handle)
    assert log == [("the pool", 42)]
    assert compile_call(handle).wants_delivery


class Repository:
    def __init__(self, pool: Annotated[str, Depends(lambda: "a pool")], limit: int = 5) -> None:
        self.pool, self.limit = pool, limit


class Lookup:
    async def __call__(self) -> str:
        return "looked up"


async def test_classes_objects_and_partials_are_dependencies(call: Call, log: Log) -> None:
    async def add(left: int, right: int = 0) -> int:
        return left + right

    async def handle(
        event: str,
        named: Annotated[Repository, Depends(Repository)],
        inferred: Annotated[Repository, Depends()],
        by_default: Repository = Depends(),  # noqa: B008
        looked_up: str = Depends(Lookup()),
        total: int = Depends(functools.partial(add, 1, right=2)),
    ) -> None:
        log.extend([type(named), inferred is named, by_default is named, named.pool, named.limit])
        log.extend([looked_up, total])

    await call(handle)
    assert log == [Repository, True, True, "a pool", 5, "looked up", 3]


async def test_security_without_a_request_is_a_dependency_too(call: Call, log: Log) -> None:
    async def handle(event: str, who: str = Security(lambda: "the service", scopes=["all"])) -> None:
        log.append(who)

    await call(handle)
    assert log == ["the service"]


async def test_a_value_is_made_once_a_call_unless_the_cache_is_refused(call: Call, log: Log) -> None:
    def count() -> int:
        log.append("counted")
        return len(log)

    async def nested(cached: int = Depends(count)) -> int:
        return cached

    async def handle(
        event: str,
        first: int = Depends(count),
        again: int = Depends(nested),
        fresh: int = Depends(count, use_cache=False),
    ) -> None:
        assert (first, again, fresh) == (1, 1, 2)

    await call(handle)
    assert log == ["counted", "counted"]
    log.clear()
    await call(handle)
    assert log == ["counted", "counted"]


async def test_exits_run_after_the_handler_in_reverse_order(call: Call, log: Log) -> None:
    outer, inner = async_yield("outer", log), sync_yield("inner", log)

    def between(value: str = Depends(outer)) -> Iterator[str]:
        log.append("between opens")
        yield value
        log.append("between closes")

    async def handle(
        event: str,
        _: str = Depends(between, scope="request"),
        __: str = Depends(inner, scope="function"),
    ) -> None:
        log.append("handled")

    await call(handle)
    assert log == [
        *("outer opens", "between opens", "inner opens"),
        "handled",
        *("inner closes", "between closes", "outer closes"),
    ]


async def test_every_exit_sees_the_handlers_exception_although_another_swallows_it(
    call: Call, log: Log
) -> None:
    """Only a handler settles a message: one that raised has failed, whoever looks away."""

    async def swallows() -> AsyncIterator[None]:
        try:
            yield
        except ValueError:
            log.append("swallowed")

    def swallows_in_thread() -> Iterator[None]:
        try:
            yield
        except ValueError:
            log.append("swallowed in a thread")

    async def handle(
        event: str,
        a: str = Depends(async_yield("a", log)),
        b: str = Depends(sync_yield("b", log)),
        c: None = Depends(swallows),
        d: None = Depends(swallows_in_thread),
    ) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await call(handle)
    assert log[2:] == [
        *("swallowed in a thread", "swallowed"),
        *("b sees ValueError('mine')", "b closes", "a sees ValueError('mine')", "a closes"),
    ]


async def test_a_failing_exit_fails_the_call_and_the_others_run_all_the_same(call: Call, log: Log) -> None:
    async def commits() -> AsyncIterator[None]:
        yield
        raise RuntimeError("cannot commit")

    async def handle(event: str, a: str = Depends(async_yield("a", log)), b: None = Depends(commits)) -> None:
        log.append("handled")

    with pytest.raises(RuntimeError, match="cannot commit"):
        await call(handle)
    assert log == ["a opens", "handled", "a sees RuntimeError('cannot commit')", "a closes"]


async def test_an_exit_may_turn_the_handlers_exception_into_another(call: Call) -> None:
    async def translates() -> AsyncIterator[None]:
        try:
            yield
        except ValueError as error:
            raise LookupError("better") from error

    async def handle(event: str, _: None = Depends(translates)) -> None:
        raise ValueError("worse")

    with pytest.raises(LookupError, match="better"):
        await call(handle)


@pytest.mark.parametrize("kind", [async_yield, sync_yield])
async def test_a_dependency_that_cannot_be_made_closes_those_before_it(
    kind: Callable[..., Any], call: Call, log: Log
) -> None:
    def breaks() -> Iterator[None]:
        raise OSError("no connection")
        yield

    async def handle(event: str, a: str = Depends(kind("a", log)), b: None = Depends(breaks)) -> None:
        log.append("handled")

    with pytest.raises(OSError, match="no connection"):
        await call(handle)
    assert log == ["a opens", "a sees OSError('no connection')", "a closes"]


async def test_cancellation_passes_the_exits_and_is_never_swallowed(call: Call, log: Log) -> None:
    begun = asyncio.Event()

    async def stubborn() -> AsyncIterator[None]:
        try:
            yield
        except BaseException:  # noqa: BLE001
            log.append("swallowed")

    async def handle(
        event: str, a: str = Depends(async_yield("a", log)), b: None = Depends(stubborn)
    ) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(call(handle))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["a opens", "swallowed", "a sees CancelledError()", "a closes"]


async def test_one_thread_makes_uses_and_leaves_what_a_sync_dependency_opens(call: Call, log: Log) -> None:
    """So that what must stay in one thread, as a SQLite connection must, works as it is."""

    def database() -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(":memory:")
        yield connection
        log.append(connection.execute("select count(*) from seen").fetchone())
        connection.close()

    def schema(database: Annotated[sqlite3.Connection, Depends(database)]) -> sqlite3.Connection:
        database.execute("create table seen (event text)")
        return database

    def handle(event: str, database: Annotated[sqlite3.Connection, Depends(schema)]) -> None:
        database.execute("insert into seen values (?)", (event,))

    await call(handle)
    assert log == [(1,)]


async def test_calls_that_hold_what_others_wait_for_can_always_finish(
    app: FastAPI, delivery: Delivery
) -> None:
    """One connection, two threads, eight calls: none waits for a thread to give the connection back."""
    pool = threading.Semaphore(1)
    handled: list[str] = []

    def connection() -> Iterator[None]:
        assert pool.acquire(timeout=10)
        yield
        pool.release()

    def handle(event: str, _: None = Depends(connection)) -> None:
        handled.append(event)

    threads = HandlerThreads(2)
    plan, call_context = compile_call(handle), CallContext(app, {}, threads)
    async with asyncio.timeout(10):
        await asyncio.gather(*(plan.call("hello", delivery, call_context) for _ in range(8)))
    assert len(handled) == 8
    threads.close()


async def test_context_variables_set_by_a_sync_dependency_can_be_reset_in_its_exit(call: Call) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")

    def scoped() -> Iterator[None]:
        token = tenant.set("one")
        yield
        tenant.reset(token)

    async def scoped_on_the_loop() -> AsyncIterator[None]:
        token = tenant.set("two")
        yield
        tenant.reset(token)

    def handle(event: str, _: None = Depends(scoped), __: None = Depends(scoped_on_the_loop)) -> None:
        assert tenant.get() == "two"

    await call(handle)
    assert tenant.get() == "none"


async def test_cancelled_while_it_opens_a_sync_dependency_is_closed_all_the_same(
    call: Call, log: Log
) -> None:
    loop = asyncio.get_running_loop()
    opening, go_on = asyncio.Event(), threading.Event()

    def connection() -> Iterator[None]:
        loop.call_soon_threadsafe(opening.set)
        assert go_on.wait(10)
        log.append("opened")
        try:
            yield
        finally:
            log.append("closed")

    async def handle(event: str, _: None = Depends(connection)) -> None:
        log.append("handled")

    task = asyncio.create_task(call(handle))
    await opening.wait()
    task.cancel()
    loop.call_soon(loop.call_soon, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["opened", "closed"]


async def test_dependencies_stay_open_until_a_cancelled_sync_handler_has_ended(call: Call, log: Log) -> None:
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), threading.Event()

    def handle(
        event: str, a: str = Depends(async_yield("a", log)), b: str = Depends(sync_yield("b", log))
    ) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)
        log.append("handler ended")

    task = asyncio.create_task(call(handle))
    await begun.wait()
    task.cancel()
    loop.call_soon(loop.call_soon, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log[2:] == [
        "handler ended",
        *("b sees CancelledError()", "b closes", "a sees CancelledError()", "a closes"),
    ]


# -- overrides -------------------------------------------------------------------------------------


async def test_overrides_count_at_the_moment_of_the_call(app: FastAPI, call: Call, log: Log) -> None:
    def real() -> str:
        return "real"

    async def nested(value: str = Depends(real)) -> str:
        return f"nested {value}"

    async def handle(event: str, value: str = Depends(nested)) -> None:
        log.append(value)

    def fake(it: Delivery) -> str:
        return f"fake at {it.offset}"

    async def fake_nested(value: str = Depends(real)) -> str:
        return f"fake nested {value}"

    await call(handle)
    app.dependency_overrides[real] = fake
    await call(handle)
    app.dependency_overrides[nested] = fake_nested
    await call(handle)
    app.dependency_overrides.clear()
    await call(handle)
    assert log == ["nested real", "nested fake at 42", "fake nested fake at 42", "nested real"]


async def test_an_override_is_read_once_cached_once_a_call_and_closed(
    app: FastAPI, call_context: CallContext, delivery: Delivery, log: Log
) -> None:
    def real() -> str:
        raise AssertionError("overridden")

    async def handle(event: str, one: str = Depends(real), other: str = Depends(real)) -> None:
        log.append((one, other))

    app.dependency_overrides[real] = async_yield("fake", log)
    plan = compile_call(handle)
    for _ in range(2):
        await plan.call("hello", delivery, call_context)
    assert log == ["fake opens", ("fake", "fake"), "fake closes"] * 2


async def test_an_override_that_no_message_can_supply_is_refused_when_it_is_met(
    app: FastAPI, call: Call
) -> None:
    def real() -> str:
        return "real"

    def fake(q: str) -> str:
        return q

    async def handle(event: str, value: str = Depends(real)) -> None: ...

    app.dependency_overrides[real] = fake
    with pytest.raises(DeclarationError, match=r"parameter 'q' of dependency fake of handler handle"):
        await call(handle)
