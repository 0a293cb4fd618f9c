"""Tells what the engine does for us from what it does for others in this process, who must not notice us.

Every change of the engine for the whole process asks here first. Tasks inherit the context in which they
are begun, so what a client of ours begins counts as ours for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import NamedTuple


class Ours(NamedTuple):
    """`anywhere`: whether credentials may go unencrypted to hosts that are not loopback."""

    anywhere: bool


_ours: ContextVar[Ours | None] = ContextVar("what the engine does for us", default=None)


def ours(*, anywhere: bool) -> AbstractContextManager[None]:
    """Inside, the engine works for us: for each call that may begin a task, connect, or log a line."""
    return _working(Ours(anywhere))


def theirs() -> AbstractContextManager[None]:
    """Inside, the engine does not work for us: for its calls that lead to the user's code."""
    return _working(None)


@contextmanager
def _working(whose: Ours | None) -> Iterator[None]:
    before = _ours.set(whose)
    try:
        yield
    finally:
        # A task that nobody waits for is closed by the garbage collector, in another context.
        with suppress(ValueError):
            _ours.reset(before)


def at_work() -> Ours | None:
    """`None` if the engine works for another user."""
    return _ours.get()
