"""Tasks that whoever makes them can register before they run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def later(work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
    """A task whose first step is taken in a later turn of the running loop, never inside this call.

    `asyncio.create_task` promises that only where the loop has no task factory of its own: under
    Python 3.12's `eager_task_factory` a task may have ended before its maker has stored it, and
    what the task itself says of its end is then overwritten.
    """
    return asyncio.Task(work, loop=asyncio.get_running_loop(), name=name)
