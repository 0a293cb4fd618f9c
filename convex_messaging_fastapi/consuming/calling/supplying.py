"""One call's dependencies: made when asked for, kept for the call, and left in the reverse order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from contextvars import copy_context
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from starlette.requests import HTTPConnection

from convex_messaging_fastapi.consuming.calling.call_context import CallContext
from convex_messaging_fastapi.consuming.calling.callables import Kind
from convex_messaging_fastapi.consuming.calling.dependencies import (
    Arguments,
    Dependency,
    Source,
    Supply,
    dependency_on,
)
from convex_messaging_fastapi.consuming.threads import HandlerThread
from convex_messaging_fastapi.records import Delivery

P = ParamSpec("P")
T = TypeVar("T")


class Replacements:
    """What stands in for dependencies by `app.dependency_overrides`, read when first met."""

    def __init__(self, who: str, *, batch: bool) -> None:
        self._who = who
        self._batch = batch
        self._known: dict[Callable[..., Any], Dependency] = {}

    def instead_of(self, dependency: Dependency, overrides: Mapping[Any, Any]) -> Dependency:
        """Raises `DeclarationError` for a replacement that no message can supply."""
        function = overrides.get(dependency.function)
        if function is None:
            return dependency
        if function not in self._known:
            self._known[function] = dependency_on(function, self._who, batch=self._batch)
        return self._known[function]


class Supplier:
    """Supplies one call; `leave` must follow, whatever became of it."""

    __slots__ = (
        "_call_context",
        "_connection",
        "_delivery",
        "_exits",
        "_overrides",
        "_replacements",
        "_thread",
        "_values",
    )

    def __init__(
        self,
        delivery: Delivery | list[Delivery] | None,
        call_context: CallContext,
        replacements: Replacements,
    ) -> None:
        self._delivery = delivery
        self._call_context = call_context
        self._replacements = replacements
        self._overrides = call_context.overrides
        self._values: dict[Callable[..., Any], Any] = {}
        self._connection: HTTPConnection | None = None
        self._exits: AsyncExitStack | None = None
        self._thread: HandlerThread | None = None

    async def arguments(self, wanted: Arguments) -> dict[str, Any]:
        return {name: await self._supply(source) for name, source in wanted}

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._thread is None:
            return await self._call_context.threads.run(function, *args, **kwargs)
        return await self._thread.run(copy_context(), function, *args, **kwargs)

    async def leave(self, error: BaseException | None) -> None:
        """Run what stands after the dependencies' `yield`s; each of them sees `error`."""
        if self._exits is not None:
            trace = error.__traceback__ if error is not None else None
            await self._exits.__aexit__(type(error) if error is not None else None, error, trace)

    async def _supply(self, source: Source) -> Any:
        if source is Supply.DELIVERY:
            return self._delivery
        if source is Supply.CONNECTION:
            return self._get_connection()
        return await self._value_of(source)

    def _get_connection(self) -> HTTPConnection:
        if self._connection is None:
            self._connection = self._call_context.connection()
        return self._connection

    async def _value_of(self, dependency: Dependency) -> Any:
        if dependency.use_cache and dependency.function in self._values:
            return self._values[dependency.function]
        actual = dependency
        if self._overrides:
            actual = self._replacements.instead_of(dependency, self._overrides)
        value = await self._make(actual)
        self._values.setdefault(dependency.function, value)
        return value

    async def _make(self, dependency: Dependency) -> Any:
        arguments = await self.arguments(dependency.arguments)
        match dependency.kind:
            case Kind.ASYNC:
                return await dependency.call(**arguments)
            case Kind.SYNC:
                return await self.in_thread(dependency.call, **arguments)
            case Kind.ASYNC_YIELD:
                return await self._enter(dependency.call(**arguments))
            case Kind.SYNC_YIELD:
                return await self._enter_in_thread(dependency.call(**arguments))

    async def _enter(self, manager: AbstractAsyncContextManager[Any]) -> Any:
        value = await manager.__aenter__()

        async def leave(
            kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            # Its answer, whether it swallowed the error, is not passed on: a message that failed
            # has not succeeded because one dependency looked away, and the others must know.
            await manager.__aexit__(kind, error, trace)

        self._get_exits().push_async_exit(leave)
        return value

    async def _enter_in_thread(self, manager: AbstractContextManager[Any]) -> Any:
        if self._thread is None:
            self._thread = await self._get_exits().enter_async_context(self._call_context.threads.hold())
        visit = _ThreadVisit(manager, self._thread)
        # Before entering: cancelled while the thread enters, there is something to leave all the same.
        self._get_exits().push_async_exit(visit.leave)
        return await visit.enter()

    def _get_exits(self) -> AsyncExitStack:
        if self._exits is None:
            self._exits = AsyncExitStack()
        return self._exits


class _ThreadVisit:
    """A context manager that is entered and left in one thread and one context."""

    def __init__(self, manager: AbstractContextManager[Any], thread: HandlerThread) -> None:
        self._manager = manager
        self._thread = thread
        self._context = copy_context()
        self._is_inside = False

    async def enter(self) -> Any:
        return await self._thread.run(self._context, self._enter)

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._thread.run(self._context, self._leave, kind, error, trace)

    def _enter(self) -> Any:
        value = self._manager.__enter__()
        self._is_inside = True
        return value

    def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_inside:
            self._manager.__exit__(kind, error, trace)
