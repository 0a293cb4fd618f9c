"""What FastAPI would supply to a route and no message can supply, each with the sentence that fixes it."""

from __future__ import annotations

import inspect
from typing import Any

import fastapi
from fastapi import params
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from convex_messaging_fastapi.consuming.calling.callables import innermost_of
from convex_messaging_fastapi.consuming.calling.parameters import Parameter
from convex_messaging_fastapi.errors import DeclarationError

_INSTEAD = (
    "ask for `HTTPConnection`, which brings `.app` and `.state`, or for `Delivery`, which brings the "
    "message's key, headers and place"
)

_TYPES: tuple[tuple[type, str], ...] = (
    (Request, f"a message comes without an HTTP request: {_INSTEAD}"),
    (WebSocket, f"a message comes without a WebSocket: {_INSTEAD}"),
    (Response, "a message has no reply: publish one with the bus"),
    (
        BackgroundTasks,
        "what runs after the handler would be lost if the process ended: await it in the handler, or "
        "send it to a queue",
    ),
    (SecurityScopes, "a message comes with no one logged in: check what it says in the handler"),
)

_FOREIGN_NAMES = ("Depends", "Dependant")
_FOREIGN_PACKAGES = ("fast_depends", "faststream", "taskiq_dependencies")


def refuse_what_no_message_has(parameter: Parameter, who: str) -> None:
    """Raises `DeclarationError` for what belongs to HTTP or to another library."""
    where = f"parameter {parameter.name!r} of {who}"
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise DeclarationError(
            f"{where} takes anything, so nobody knows what to supply: name what it needs; a decorator "
            "around it uses `functools.wraps`"
        )
    for note in parameter.notes:
        _refuse_note(note, where)
    if dependency_marker_of(parameter) is not None:
        return
    for kind, sentence in _TYPES:
        if is_a(parameter.type, kind):
            raise DeclarationError(f"{where} asks for a {kind.__name__}: {sentence}")


def refuse_login(function: Any, who: str) -> None:
    """Raises `DeclarationError` for FastAPI's security schemes: each would fail every message with a 401."""
    if isinstance(innermost_of(function), SecurityBase):
        raise DeclarationError(
            f"{who} reads a login from an HTTP request, and a message comes with no one logged in: "
            "check what it says in the handler"
        )


def refuse_unmarked(parameter: Parameter, who: str) -> None:
    """Raises `DeclarationError` for a parameter that nothing fills, unless it has a default."""
    if parameter.has_default:
        return
    raise DeclarationError(
        f"nothing supplies parameter {parameter.name!r} of {who}: in a route it would be a query parameter "
        "or body, and a message has none. Annotate it with `Bus`, `Delivery` or `HTTPConnection`, give it "
        "`Depends(...)`, or give it a default"
    )


def dependency_marker_of(parameter: Parameter) -> params.Depends | None:
    """The parameter's `Depends`, if it has one; the last counts, as in FastAPI."""
    markers = [note for note in parameter.notes if isinstance(note, params.Depends)]
    return markers[-1] if markers else None


def is_a(annotation: Any, kind: type) -> bool:
    origin = getattr(annotation, "__origin__", annotation)  # HTTPConnection[State] is one too
    return inspect.isclass(origin) and issubclass(origin, kind)


def asks_for_connection(parameter: Parameter) -> bool:
    return is_a(parameter.type, HTTPConnection)


def _refuse_note(note: Any, where: str) -> None:
    kind = type(note)
    if isinstance(note, params.Depends):
        _refuse_limit(note, where)
    elif isinstance(note, params.Param | params.Body):
        raise DeclarationError(
            f"{where} is marked {kind.__name__}(...), which is filled from an HTTP request, and a message "
            f"comes without one: {_INSTEAD}"
        )
    elif note is fastapi.Depends or note is params.Depends:
        raise DeclarationError(f"{where} names Depends without calling it: write `Depends(...)`")
    elif kind.__name__ in _FOREIGN_NAMES or kind.__module__.partition(".")[0] in _FOREIGN_PACKAGES:
        raise DeclarationError(
            f"{where} is marked with {kind.__module__}.{kind.__name__}, which means nothing here: "
            "use `fastapi.Depends`"
        )


def _refuse_limit(marker: params.Depends, where: str) -> None:
    # FastAPI counts these calls where nobody else can, so handlers and requests together would be more.
    if getattr(marker, "max_concurrency", None) is not None:
        raise DeclarationError(
            f"{where} has a Depends with max_concurrency, which would count handlers apart from requests: "
            "use one without it here, and the subscriber's `concurrency=`"
        )
