"""Task factories that run a task before whoever makes it goes on, as Python 3.12's own can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from inspect import CORO_CLOSED, getcoroutinestate
from types import TracebackType
from typing import Any

Factory = Callable[..., "asyncio.Future[Any]"]


def emulated(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any
) -> asyncio.Task[Any]:
    """The first step is taken at once, as the new task; the loop takes the others."""
    if not loop.is_running():
        return asyncio.Task(work, loop=loop, **named)
    begun = Begun(work)
    context = named.setdefault("context", copy_context())
    task: asyncio.Task[Any] = asyncio.Task(begun, loop=loop, **named)
    outer = asyncio.current_task(loop)
    if outer is not None:
        asyncio.tasks._leave_task(loop, outer)
    asyncio.tasks._enter_task(loop, task)
    try:
        context.run(begun.begin)
    finally:
        asyncio.tasks._leave_task(loop, task)
        if outer is not None:
            asyncio.tasks._enter_task(loop, outer)
    return task


class Begun(Coroutine[Any, Any, Any]):
    """A coroutine whose first step may be taken before a task asks for it, and is told when it does."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self._tell: Callable[[], Any] | None = None

    def begin(self) -> None:
        try:
            waited = self._work.send(None)
        except BaseException as end:  # noqa: BLE001 - whatever it is, the task is to see it
            self._tell = lambda end=end: _raise(end)
        else:
            self._tell = lambda: waited

    def send(self, value: Any) -> Any:
        tell, self._tell = self._tell, None
        return self._work.send(value) if tell is None else tell()

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None) -> Any:
        self._tell = None
        error = kind if value is None else value
        if getcoroutinestate(self._work) == CORO_CLOSED:
            _raise(error)  # what ended in its first step cannot be cancelled any more
        return self._work.throw(error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()


def _raise(error: BaseException) -> None:
    raise error


FACTORIES: dict[str, Factory] = {"emulated": emulated}
if (of_python := getattr(asyncio, "eager_task_factory", None)) is not None:
    FACTORIES["of Python"] = of_python


@contextmanager
def eagerly(factory: Factory | None = None) -> Iterator[None]:
    """Whatever is begun on the running loop meanwhile begins at once; as Python does it, where it can."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(factory or list(FACTORIES.values())[-1])
    try:
        yield
    finally:
        loop.set_task_factory(before)
