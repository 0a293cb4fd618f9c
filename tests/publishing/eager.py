"""Task factories that run a task before whoever makes it goes on, as Python 3.12's own can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any

Factory = Callable[..., "asyncio.Future[Any]"]


def emulated(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any
) -> asyncio.Task[Any]:
    """The first step is taken at once; a task takes the rest, if there is any."""
    if not loop.is_running():
        return asyncio.Task(work, loop=loop, **named)
    try:
        waited = work.send(None)
    except StopIteration as end:
        return asyncio.Task(_ended(end.value), loop=loop, **named)
    return asyncio.Task(_rest(work, waited), loop=loop, **named)


FACTORIES: dict[str, Factory] = {"emulated": emulated}
if (of_python := getattr(asyncio, "eager_task_factory", None)) is not None:
    FACTORIES["of Python"] = of_python


async def _ended(value: Any) -> Any:
    return value


async def _rest(work: Coroutine[Any, Any, Any], waited: Any) -> Any:
    return await _going_on(work, waited)


@coroutine
def _going_on(work: Coroutine[Any, Any, Any], waited: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            sent = yield waited
        except BaseException as error:  # noqa: BLE001 - a cancellation is the work's to take
            step, argument = work.throw, error
        else:
            step, argument = work.send, sent
        try:
            waited = step(argument)
        except StopIteration as end:
            return end.value
