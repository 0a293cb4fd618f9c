"""A loop whose tasks begin inside `create_task`, as with `asyncio.eager_task_factory` of Python 3.12."""

from __future__ import annotations

import asyncio
import sys
from asyncio import tasks
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any


def eager_task_factory(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any],
    *,
    name: str | None = None,
    context: Context | None = None,
    **_: Any,
) -> asyncio.Task[Any]:
    """What Python 3.12 does, for Python 3.11: the first step is taken here, on the caller's stack."""
    where = copy_context() if context is None else context
    task = tasks._PyTask(coro, loop=loop, name=name, context=where)  # type: ignore[attr-defined]
    scheduled = loop._ready.pop()  # type: ignore[attr-defined]
    assert scheduled._callback.__self__ is task, "the task's own first step"
    caller = asyncio.current_task(loop)
    if caller is not None:
        tasks._leave_task(loop, caller)
    try:
        where.run(task._Task__step)
    finally:
        if caller is not None:
            tasks._enter_task(loop, caller)
    return task


@contextmanager
def eagerly() -> Iterator[None]:
    """Whatever is begun on the running loop meanwhile begins at once."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    else:
        loop.set_task_factory(eager_task_factory)
    try:
        yield
    finally:
        loop.set_task_factory(before)
