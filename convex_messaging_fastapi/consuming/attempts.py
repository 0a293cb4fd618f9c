"""Tells the exceptions that fail an attempt from those that have nothing to do with the message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from convex_messaging_fastapi.clock import Clock, time_limit
from convex_messaging_fastapi.consuming.runners import Runners
from convex_messaging_fastapi.errors import AttemptTimedOut, HandlerCancelled, HandlerExited
from convex_messaging_fastapi.failures import leaves


async def failure_of_call(call: Awaitable[None], runners: Runners) -> BaseException | None:
    """What the handler failed with, or `None`."""
    try:
        await call
    except BaseException as problem:  # noqa: BLE001 - raised again where it is not the message's doing
        return blamed_on_message(problem, runners)
    return None


async def failure_within(
    limit: float, call: Awaitable[None], clock: Clock, runners: Runners
) -> BaseException | None:
    """As `failure_of_call`, of a handler that is cancelled after `limit` seconds."""
    problem: BaseException | None
    try:
        async with time_limit(clock, limit):
            try:
                await call
            except asyncio.CancelledError:
                raise  # the limit itself tells whether it was its own
            except BaseException as error:  # noqa: BLE001 - judged below; a `TimeoutError` is the handler's
                problem = error
            else:
                return None
    except TimeoutError:
        return AttemptTimedOut(f"the handler did not return within {limit:g} s")
    except asyncio.CancelledError as cancellation:
        problem = cancellation
    return blamed_on_message(problem, runners)


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
