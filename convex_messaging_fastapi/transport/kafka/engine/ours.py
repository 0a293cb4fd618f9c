"""Tells what the engine does for us from what it does for others in this process, who must not notice us.

Whatever is changed for the whole process asks here first. A context goes along with the tasks that are
begun in it, so what a client of ours begins is ours for as long as it lives.
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
    """In here the engine works for us: around each call that may begin a task, connect, or write a line."""
    return _working(Ours(anywhere))


def theirs() -> AbstractContextManager[None]:
    """In here it does not: around what the engine calls that is the user's, or leads there."""
    return _working(None)


@contextmanager
def _working(whose: Ours | None) -> Iterator[None]:
    before = _ours.set(whose)
    try:
        yield
    finally:
        # A task that nobody waits for any more is closed by whoever collects it, in a context of its own.
        with suppress(ValueError):
            _ours.reset(before)


def at_work() -> Ours | None:
    """`None` where the engine works for somebody else."""
    return _ours.get()
