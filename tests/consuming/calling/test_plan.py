"""A handler of any shape is called with its message and with what it asks for by type."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from convex_messaging_fastapi.consuming.calling import CallContext, compile_call
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.records import Delivery
from tests.consuming.calling.conftest import Call


class UserCreated(BaseModel):
    user_id: int


async def test_an_async_handler_of_the_message_alone_is_called_directly(call_context: CallContext) -> None:
    handled: list[str] = []

    async def handle(event: str) -> None:
        handled.append(event)

    plan = compile_call(handle)
    assert plan.is_direct
    assert not plan.wants_delivery
    assert plan.function is handle

    await plan.call("one", None, call_context)
    await plan.function("two")
    assert handled == ["one", "two"]


async def test_a_plan_decodes_what_its_handler_is_annotated_with() -> None:
    async def handle(event: UserCreated) -> None: ...

    plan = compile_call(handle)
    assert plan.decode(b'{"user_id": 7}') == UserCreated(user_id=7)
    with pytest.raises(DecodeError):
        plan.decode(b'{"user_id": "seven"}')


def test_a_handler_without_annotation_gets_decoded_json() -> None:
    async def handle(event): ...  # type: ignore[no-untyped-def]

    assert compile_call(handle).decode(b'{"a": [1]}') == {"a": [1]}


def test_a_plan_keeps_what_its_handler_says_of_a_message() -> None:
    """Constraints included: a document of what a service reads is drawn from it."""

    positive = Field(gt=0)

    async def one(event: Annotated[int, positive]) -> None: ...
    async def bare(event) -> None: ...  # type: ignore[no-untyped-def]
    async def many(events: list[UserCreated]) -> None: ...

    assert compile_call(one).message == Annotated[int, positive]
    assert compile_call(bare).message is Any
    assert compile_call(many, batch=True).message is UserCreated


def test_constraints_beside_the_messages_type_count() -> None:
    async def handle(event: Annotated[int, Field(gt=5)]) -> None: ...

    with pytest.raises(DecodeError):
        compile_call(handle).decode(b"3")


async def test_a_delivery_is_supplied_by_annotation_whatever_its_name(call: Call, delivery: Delivery) -> None:
    seen: list[object] = []

    async def plain(event: str, it: Delivery) -> None:
        seen.append(it)

    async def optional(event: str, *, it: Delivery | None = None) -> None:
        seen.append(it)

    await call(plain)
    await call(optional)
    assert seen == [delivery, delivery]


def test_a_plan_says_whether_a_delivery_must_be_made() -> None:
    async def asks(event: str, it: Delivery) -> None: ...

    async def asks_for_another(event: str, conn: HTTPConnection) -> None: ...

    assert compile_call(asks).wants_delivery
    assert not compile_call(asks).is_direct
    assert not compile_call(asks_for_another).wants_delivery


async def test_a_connection_has_the_app_with_its_state_and_the_bus(call: Call, app: FastAPI) -> None:
    app.state.pool = "the pool"
    seen: list[Any] = []

    async def handle(event: str, conn: HTTPConnection, same: HTTPConnection) -> None:
        seen.extend([conn.app.state.pool, conn.state.messaging_bus, conn is same])
        seen.extend([conn.headers.keys(), str(conn.query_params), conn.cookies, conn.client, conn.url.path])

    await call(handle)
    assert seen == ["the pool", "the bus", True, [], "", {}, None, "/"]


async def test_what_the_state_of_a_connection_lacks_is_told_with_the_way_to_have_it(call: Call) -> None:
    seen: list[Any] = []

    async def handle(event: str, conn: HTTPConnection) -> None:
        seen.append((getattr(conn.state, "pool", None), "pool" in conn.state, list(conn.state)))
        conn.state.pool  # noqa: B018 - what it raises is looked at

    with pytest.raises(AttributeError, match=r"no 'pool' in the `conn.state` of a handler.*app\.state"):
        await call(handle)
    assert seen == [(None, False, ["messaging_bus"])]


async def test_what_one_call_writes_into_the_state_no_other_sees(call: Call) -> None:
    seen: list[bool] = []

    async def handle(event: str, conn: HTTPConnection[Any]) -> None:
        seen.append(hasattr(conn.state, "mark"))
        conn.state.mark = True

    await call(handle)
    await call(handle)
    assert seen == [False, False]


@pytest.mark.parametrize("app", [None, Starlette()])
async def test_no_app_and_a_plain_starlette_app_do_as_well(
    app: Starlette | None, delivery: Delivery, threads: HandlerThreads
) -> None:
    seen: list[Any] = []

    async def handle(event: str, conn: HTTPConnection) -> None:
        seen.append(conn.app)

    await compile_call(handle).call("hello", delivery, CallContext(app, {}, threads))
    assert seen == [app]


async def test_parameters_with_defaults_are_left_alone(call: Call) -> None:
    seen: list[object] = []

    async def handle(event: str, limit: int = 10, /, *, label: str = "x") -> None:
        seen.append((event, limit, label))

    await call(handle)
    assert seen == [("hello", 10, "x")]


class Service:
    def __init__(self) -> None:
        self.handled: list[Any] = []

    async def method(self, event: str) -> None:
        self.handled.append(event)

    async def __call__(self, event: str) -> None:
        self.handled.append(event)

    async def with_prefix(self, prefix: str, event: str) -> None:
        self.handled.append(prefix + event)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "handler_of",
    [
        lambda service: service.method,
        lambda service: service,
        lambda service: functools.partial(service.with_prefix, ""),
        lambda service: decorated(service.method),
        lambda service: functools.partial(decorated(service.with_prefix), ""),
        lambda service: functools.partial(service),
    ],
    ids=["method", "callable object", "partial", "wrapped", "partial of wrapped", "partial of object"],
)
async def test_async_handlers_of_any_shape_run_on_the_loop(
    handler_of: Callable[[Service], Callable[..., Any]], call: Call
) -> None:
    service = Service()
    handler = handler_of(service)
    assert compile_call(handler).is_direct
    await call(handler)
    assert service.handled == ["hello"]


async def test_a_sync_handler_runs_in_a_thread_of_ours_with_its_arguments(
    call: Call, delivery: Delivery
) -> None:
    seen: list[Any] = []

    def handle(event: str, it: Delivery) -> str:
        seen.append((event, it, threading.current_thread().name))
        return "ignored"

    await call(handle)
    assert seen == [("hello", delivery, "convex-handler-1")]
    assert not compile_call(handle).is_direct


async def test_even_a_bound_builtin_is_a_handler(call: Call) -> None:
    handled: list[str] = []
    await call(handled.append)
    assert handled == ["hello"]


async def test_a_lambda_around_an_async_function_is_awaited(call: Call) -> None:
    """Else the message would count as handled although nothing ran."""
    service = Service()
    await call(lambda event: service.method(event))
    assert service.handled == ["hello"]


async def test_what_a_handler_raises_comes_out_as_it_is(call: Call) -> None:
    error = ValueError("mine")

    async def fail(event: str, it: Delivery) -> None:
        raise error

    def fail_in_thread(event: str) -> None:
        raise error

    for handler in (fail, fail_in_thread):
        with pytest.raises(ValueError, match="mine") as raised:
            await call(handler)
        assert raised.value is error


async def test_a_cancelled_call_of_a_sync_handler_ends_when_its_thread_has_ended(call: Call) -> None:
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), threading.Event()
    ended: list[bool] = []

    def handle(event: str) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)
        ended.append(True)

    task = asyncio.create_task(call(handle))
    await begun.wait()
    task.cancel()
    loop.call_soon(loop.call_soon, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_a_batch_is_a_list_of_messages_and_of_deliveries(
    call_context: CallContext, delivery: Delivery
) -> None:
    seen: list[Any] = []

    async def handle(events: list[UserCreated], deliveries: list[Delivery]) -> None:
        seen.append((events, deliveries))

    plan = compile_call(handle, batch=True)
    event = plan.decode(b'{"user_id": 1}')
    assert event == UserCreated(user_id=1)
    await plan.call([event, event], [delivery, delivery], call_context)
    assert seen == [([event, event], [delivery, delivery])]


def test_a_batch_handler_may_leave_its_members_untyped() -> None:
    async def bare(events: list): ...  # type: ignore[no-untyped-def,type-arg]

    async def unannotated(events): ...  # type: ignore[no-untyped-def]

    for handler in (bare, unannotated):
        assert compile_call(handler, batch=True).decode(b'{"a": 1}') == {"a": 1}


def test_a_single_message_may_be_a_list() -> None:
    async def handle(numbers: list[int]) -> None: ...

    assert compile_call(handle).decode(b"[1, 2]") == [1, 2]
