"""What kind of callable something is, seen through partials, wrappers, methods and `__call__`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any


class Kind(Enum):
    """How a callable is called; the last two have an exit, after their `yield`."""

    ASYNC = "async"
    SYNC = "sync"
    ASYNC_YIELD = "async_yield"
    SYNC_YIELD = "sync_yield"


def kind_of(function: Callable[..., Any]) -> Kind:
    """As FastAPI sees it: a plain wrapper that names an async function in `__wrapped__` is async."""
    faces = tuple(_faces(function))
    if any(inspect.isasyncgenfunction(face) for face in faces):
        return Kind.ASYNC_YIELD
    if any(inspect.isgeneratorfunction(face) for face in faces):
        return Kind.SYNC_YIELD
    if any(inspect.iscoroutinefunction(face) for face in faces):
        return Kind.ASYNC
    return Kind.SYNC


def name_of(function: Callable[..., Any]) -> str:
    innermost = innermost_of(function)
    name: str = getattr(innermost, "__qualname__", type(innermost).__qualname__)
    return name.rpartition("<locals>.")[2]


def innermost_of(function: Any) -> Any:
    """The callable that was written by hand, inside every partial and every wrapper."""
    while isinstance(function := inspect.unwrap(function), functools.partial):
        function = function.func
    return function


def written_function_of(function: Callable[..., Any]) -> Any:
    """The function whose parameters a call fills: of a class its `__init__`, of an object its `__call__`."""
    innermost = innermost_of(function)
    if inspect.isclass(innermost):
        return innermost_of(innermost.__init__)
    if inspect.isroutine(innermost):
        return innermost
    return innermost_of(type(innermost).__call__)


def _faces(function: Callable[..., Any]) -> Iterator[Any]:
    """Everything that may tell: a partial's function, what is inside its wrappers, an object's `__call__`."""
    yield function.func if isinstance(function, functools.partial) else function
    innermost = innermost_of(function)
    yield innermost
    if not inspect.isclass(innermost):
        yield innermost_of(type(innermost).__call__)
