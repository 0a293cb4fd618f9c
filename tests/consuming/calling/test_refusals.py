"""What no message can supply is refused when a handler is declared, with the sentence that fixes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from inspect import signature
from typing import Annotated, Any

import fastapi
import pytest
from fastapi import BackgroundTasks, Body, Cookie, Depends, File, Form, Header, Path, Query
from fastapi.responses import JSONResponse
from fastapi.security import OAuth2PasswordBearer, SecurityScopes
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from convex_messaging_fastapi.consuming.calling import compile_call
from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.records import Delivery

ASK_FOR = (
    "ask for `HTTPConnection`, which brings `.app` and `.state`, or for `Delivery`, which brings the "
    "message's key, headers and place"
)


def refusal(handler: Callable[..., Any], *, batch: bool = False) -> str:
    with pytest.raises(DeclarationError) as refused:
        compile_call(handler, batch=batch)
    return str(refused.value)


def handler_with(annotation: Any, default: Any = None) -> Callable[..., Any]:
    async def handle(event: str, asked: Any = default) -> None: ...

    handle.__annotations__["asked"] = annotation
    return handle


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        (Request, f"asks for a Request: a message comes without an HTTP request: {ASK_FOR}"),
        (Request | None, f"asks for a Request: a message comes without an HTTP request: {ASK_FOR}"),
        (WebSocket, f"asks for a WebSocket: a message comes without a WebSocket: {ASK_FOR}"),
        (Response, "asks for a Response: a message has no reply: publish one with the bus"),
        (JSONResponse, "asks for a Response: a message has no reply: publish one with the bus"),
        (
            BackgroundTasks,
            "asks for a BackgroundTasks: what runs after the handler would be lost if the process ended: "
            "await it in the handler, or send it to a queue",
        ),
        (
            SecurityScopes,
            "asks for a SecurityScopes: a message comes with no one logged in: check what it says in the "
            "handler",
        ),
    ],
)
def test_what_belongs_to_a_request_is_refused(annotation: Any, sentence: str) -> None:
    assert refusal(handler_with(annotation)) == f"parameter 'asked' of handler handle {sentence}"


def test_starlettes_own_background_tasks_are_refused_too() -> None:
    assert "BackgroundTasks" in refusal(handler_with(StarletteBackgroundTasks))


@pytest.mark.parametrize("marker", [Header, Query, Cookie, Body, Form, File])
def test_markers_of_a_request_are_refused_in_annotations_and_as_defaults(marker: Callable[..., Any]) -> None:
    sentence = (
        f"parameter 'asked' of handler handle is marked {marker.__name__}(...), which is filled from an "
        f"HTTP request, and a message comes without one: {ASK_FOR}"
    )
    assert refusal(handler_with(Annotated[str, marker()])) == sentence
    assert refusal(handler_with(str, marker("a default"))) == sentence
    assert "is marked Path(...)" in refusal(handler_with(Annotated[str, Path()]))


def test_a_marker_on_the_message_itself_is_refused() -> None:
    async def handle(event: Annotated[str, Body()]) -> None: ...

    assert "parameter 'event' of handler handle is marked Body(...)" in refusal(handle)


async def current_user(request: Request) -> str:
    raise NotImplementedError


async def repository(user: Annotated[str, Depends(current_user)]) -> str:
    raise NotImplementedError


def test_a_refusal_far_down_names_the_way_to_it() -> None:
    async def handle(event: str, repository: str = Depends(repository)) -> None: ...

    assert refusal(handle).startswith(
        "parameter 'request' of dependency current_user of dependency repository of handler handle "
        "asks for a Request: "
    )


def test_a_login_is_refused() -> None:
    async def handle(event: str, token: str = Depends(OAuth2PasswordBearer("token"))) -> None: ...

    assert refusal(handle) == (
        "dependency OAuth2PasswordBearer of handler handle reads a login from an HTTP request, and a message "
        "comes with no one logged in: check what it says in the handler"
    )


def test_a_query_parameter_of_a_dependency_is_refused() -> None:
    async def paging(limit: int) -> int:
        raise NotImplementedError

    async def handle(event: str, paging: int = Depends(paging)) -> None: ...

    assert refusal(handle) == (
        "nothing supplies parameter 'limit' of dependency paging of handler handle: in a route it would be "
        "a query parameter or body, and a message has none. Annotate it with `Bus`, `Delivery` or "
        "`HTTPConnection`, give it `Depends(...)`, or give it a default"
    )


def test_a_parameter_that_nothing_supplies_is_refused() -> None:
    async def handle(event: str, other) -> None: ...  # type: ignore[no-untyped-def]

    assert refusal(handle).startswith("nothing supplies parameter 'other' of handler handle: ")


class Foreign:
    """A stand-in for the markers of other libraries."""


def foreign(name: str, module: str) -> Any:
    return type(name, (), {"__module__": module})()


@pytest.mark.parametrize(
    "marker",
    [
        foreign("Depends", "somewhere.di"),
        foreign("Dependant", "fast_depends.dependencies"),
        foreign("Dependency", "taskiq_dependencies.dependency"),
        foreign("Context", "faststream.params"),
    ],
    ids=lambda marker: type(marker).__module__,
)
def test_the_markers_of_other_libraries_are_refused(marker: Any) -> None:
    kind = type(marker)
    sentence = (
        f"parameter 'asked' of handler handle is marked with {kind.__module__}.{kind.__name__}, which means "
        "nothing here: use `fastapi.Depends`"
    )
    assert refusal(handler_with(Annotated[str, marker])) == sentence
    assert refusal(handler_with(str, marker)) == sentence


def test_depends_that_is_not_called_is_refused() -> None:
    sentence = "parameter 'asked' of handler handle names Depends without calling it: write `Depends(...)`"
    assert refusal(handler_with(Annotated[str, Depends])) == sentence
    assert refusal(handler_with(str, fastapi.params.Depends)) == sentence


def test_a_dependency_that_was_called_already_is_refused() -> None:
    assert refusal(handler_with(str, Depends("a value"))) == (  # type: ignore[arg-type]
        "parameter 'asked' of handler handle depends on 'a value', which cannot be called: name a function "
        "or class in `Depends(...)`, without calling it"
    )


def test_depends_beside_nothing_is_refused() -> None:
    async def handle(event: str, asked=Depends()): ...  # type: ignore[no-untyped-def]  # noqa: B008

    assert "depends on None, which cannot be called" in refusal(handle)


def test_a_dependency_without_a_hash_is_refused() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> str:
            raise NotImplementedError

    assert "which has no hash" in refusal(handler_with(str, Depends(Unhashable())))


@pytest.mark.skipif("max_concurrency" not in signature(Depends).parameters, reason="this FastAPI has none")
def test_a_limit_shared_with_requests_is_refused() -> None:
    assert refusal(handler_with(str, Depends(lambda: "x", max_concurrency=2))) == (
        "parameter 'asked' of handler handle has a Depends with max_concurrency, which would count handlers "
        "apart from requests: use one without it here, and the subscriber's `concurrency=`"
    )


async def chicken(egg: Annotated[str, Depends(lambda: "replaced below")]) -> str:
    raise NotImplementedError


async def egg(chicken: Annotated[str, Depends(chicken)]) -> str:
    raise NotImplementedError


def test_a_circle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chicken.__annotations__, "egg", Annotated[str, Depends(egg)])
    assert refusal(handler_with(str, Depends(chicken))) == (
        "dependency chicken of dependency egg of dependency chicken of handler handle depends on itself: "
        "break the circle"
    )


def test_parameters_that_take_anything_are_refused() -> None:
    async def positional(*args: Any) -> None: ...

    async def further(event: str, *args: Any) -> None: ...

    async def named(event: str, **kwargs: Any) -> None: ...

    for handler, name in ((positional, "args"), (further, "args"), (named, "kwargs")):
        assert refusal(handler) == (
            f"parameter {name!r} of handler {handler.__name__} takes anything, so nobody knows what to "
            "supply: name what it needs; a decorator around it uses `functools.wraps`"
        )


def test_what_cannot_be_supplied_by_name_is_refused() -> None:
    async def handle(event: str, it: Delivery, /) -> None: ...

    assert refusal(handle) == (
        "parameter 'it' of handler handle is supplied by name: take away the `/` after it"
    )


def test_a_handler_without_a_place_for_the_message_is_refused() -> None:
    async def nothing() -> None: ...

    async def by_name(*, event: str) -> None: ...

    assert refusal(nothing) == "handler nothing takes no parameter: its first one is the message"
    assert (
        refusal(by_name) == "handler by_name takes its parameters by name only: its first one is the message"
    )


def test_a_handler_whose_message_comes_second_is_refused() -> None:
    async def delivery(it: Delivery, event: str = "") -> None: ...

    async def deliveries(it: list[Delivery], event: str = "") -> None: ...

    async def connection(it: HTTPConnection, event: str = "") -> None: ...

    async def dependency(it: Annotated[str, Depends(lambda: "x")], event: str = "") -> None: ...

    for handler in (delivery, deliveries, connection, dependency):
        assert refusal(handler) == (
            f"the first parameter of handler {handler.__name__}, 'it', is not a message: put the message "
            "before it"
        )


def test_a_handler_that_yields_is_refused() -> None:
    async def on_the_loop(event: str) -> AsyncIterator[str]:
        yield event

    def in_a_thread(event: str) -> Iterator[str]:
        yield event

    for handler in (on_the_loop, in_a_thread):
        assert refusal(handler) == (
            f"handler {handler.__name__} has a `yield`, so calling it would run nothing: publish what it "
            "yields with the bus"
        )


def test_a_class_is_refused_as_a_handler() -> None:
    assert refusal(Foreign) == (
        "handler Foreign is a class, and calling it makes an object: give an instance of it"
    )


def test_deliveries_come_as_many_as_messages() -> None:
    async def one(events: list[str], it: Delivery) -> None: ...

    async def many(event: str, it: list[Delivery]) -> None: ...

    assert refusal(one, batch=True) == (
        "parameter 'it' of handler one: annotate it with `list[Delivery]`, a batch has one for each message"
    )
    assert refusal(many) == "parameter 'it' of handler many: annotate it with `Delivery`, there is one"


def test_a_batch_handler_of_one_message_is_refused() -> None:
    async def handle(event: str) -> None: ...

    assert refusal(handle, batch=True) == (
        "handler handle handles batches: annotate 'event' with `list[...]` of its messages' type"
    )
