"""What an observer may see that looks at a running bus, beside what it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.events import Observer
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.status import BusStatus


class LettersOfAGroup(Protocol):
    """Dead letters that failed alike."""

    @property
    def group(self) -> str: ...

    @property
    def counts(self) -> Mapping[Any, int]: ...

    @property
    def expires_at(self) -> datetime | None: ...


class Letters(Protocol):
    """What a list of dead letters tells of all of them."""

    @property
    def groups(self) -> Sequence[LettersOfAGroup]: ...


class Questions(Protocol):
    """What may be asked of the cluster. Each of these raises `MessagingError` where there is no answer."""

    @property
    def lag(self) -> Callable[[], Awaitable[object]]:
        """Has the status tell for a few seconds how far partitions are behind."""
        ...

    @property
    def dead_letters(self) -> Callable[..., Awaitable[Letters]]: ...


class Watched(Protocol):
    """A bus, as those see it who watch it."""

    def status(self) -> BusStatus:
        """Asks nobody. Any thread may call it."""
        ...

    @property
    def operations(self) -> Questions: ...


class Watcher(Observer):
    """An observer that looks at the bus as well, from its start to the end of its stop.

    How it does so is between this package and its own observers.
    """

    _sets_context = False
    """Whether what it tells to hear sets context variables: others hear what happens inside of these."""

    def _hearing(self, client_id: str) -> Iterable[Observer]:
        """Who is told what a bus does that has this client id; asked when it starts. Nobody costs nothing."""
        return (self,)

    def _watch(self, bus: Watched, clock: Clock) -> None:
        """The bus starts, on the running event loop. What this raises fails the start."""

    async def _leave(self, bus: Watched) -> None:
        """The bus has stopped, or could not start. Must not raise."""


def observers_of(given: Iterable[Observer], client_id: str) -> Observers:
    """Those who want to be told what a bus does that starts now, as one."""
    first = sorted(given, key=lambda each: not (isinstance(each, Watcher) and each._sets_context))
    return Observers(
        told
        for each in first
        for told in (each._hearing(client_id) if isinstance(each, Watcher) else (each,))
    )


async def watch(observers: Iterable[Observer], bus: Watched, clock: Clock) -> Callable[[], Awaitable[None]]:
    """Let all look at the bus that want to, or none; what this returns ends that."""
    looking = list[Watcher]()

    async def leave() -> None:
        for each in looking:
            await each._leave(bus)

    try:
        for each in observers:
            if isinstance(each, Watcher):
                each._watch(bus, clock)
                looking.append(each)
    except BaseException:
        await leave()
        raise
    return leave
