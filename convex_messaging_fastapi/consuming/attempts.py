"""Tells the exceptions that fail an attempt from those that have nothing to do with the message."""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi.consuming.runners import Runners
from convex_messaging_fastapi.errors import HandlerCancelled, HandlerExited
from convex_messaging_fastapi.failures import leaves


def blamed_on_message(problem: BaseException, runners: Runners) -> BaseException:
    """The failure of the attempt that ended with `problem`.

    Whatever a codec, dependency or handler raises counts: panics of libraries in Rust derive from
    `BaseException`. A `KeyboardInterrupt` and a cancellation by the worker are raised instead: the
    message is then unfinished.
    """
    if isinstance(problem, Exception) and not isinstance(problem, ExceptionGroup):
        return problem
    for leaf in leaves(problem):
        if isinstance(leaf, KeyboardInterrupt):
            raise leaf
        if isinstance(leaf, asyncio.CancelledError) and runners.is_asked_to_end():
            raise leaf
    if isinstance(problem, GeneratorExit) and not runners.is_at_work_here():
        raise problem  # the runner itself is being closed, with the loop that it ran in
    if isinstance(problem, asyncio.CancelledError):
        return HandlerCancelled("the handler was cancelled by something other than the bus")
    if isinstance(problem, SystemExit):
        # Let through, it would end the process without a drain, again and again for the same message.
        return HandlerExited(f"the handler raised SystemExit({problem.code!r})")
    return problem
