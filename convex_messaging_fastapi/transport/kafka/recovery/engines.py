"""What a supervisor looks after: an engine, how one is made, and the owner of what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from convex_messaging_fastapi.clock import Clock, settled_within
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import Explanation
from convex_messaging_fastapi.transport.kafka.recovery.probe import Reached


class Client(Protocol):
    """The connections of an engine."""

    def seconds_since_answer(self) -> float | None: ...

    @property
    def refused(self) -> bool: ...

    def refresh_metadata(self) -> None: ...

    def ping_overdue_connections(self, seconds: float) -> None: ...

    def unreachable(self) -> Mapping[int, str]: ...


class Engine(Protocol):
    @property
    def client(self) -> Client: ...

    async def start(self) -> None: ...

    async def stop(self, clock: Clock, deadline: float) -> None: ...

    def failure(self) -> str | None: ...

    def reconnect(self) -> None: ...

    def needs_metadata(self) -> bool: ...


E = TypeVar("E", bound=Engine)
T = TypeVar("T", contravariant=True)


class Ended(Exception):
    """The supervisor was stopped: there will be no engine any more."""


@dataclass(frozen=True, slots=True)
class EngineKind(Generic[E]):
    """How engines of one kind are made; `name` is the part of the bus that they serve, as it is told of.

    With `overlap` a successor starts while its predecessor is still ending; without it the
    predecessor ends first.
    """

    name: str
    reach: Callable[[], Awaitable[Reached | Explanation]]
    build: Callable[[Reached], E]
    overlap: bool


class Owner(Protocol[T]):
    def started(self, engine: T) -> None:
        """It runs, and nobody else has it yet."""
        ...

    async def lost(self, engine: T) -> None:
        """It is broken, and with it whatever it held. It is let go once this returns."""
        ...


class Slot(Generic[E]):
    """Where the engine that runs is found; `None` is there while none does."""

    def __init__(self) -> None:
        self.current: E | None = None
        self.closed: bool = False
        self._changed = asyncio.Event()

    async def engine(self) -> E:
        """The engine that runs, waiting for one as long as it takes. Raises `Ended`."""
        while self.current is None:
            if self.closed:
                raise Ended
            await self._changed.wait()
        return self.current

    def put(self, engine: E) -> None:
        self.current = engine
        self._changed.set()

    def empty(self) -> None:
        self.current = None
        self._changed.clear()

    def close(self) -> E | None:
        """Let nobody wait any more; the engine that ran."""
        last, self.current, self.closed = self.current, None, True
        self._changed.set()
        return last


class Endings:
    """Engines that were let go, and are not gone yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def let_go(self, engine: Engine, deadline: float) -> asyncio.Task[None]:
        ending = asyncio.get_running_loop().create_task(engine.stop(self._clock, deadline))
        self._tasks.add(ending)
        ending.add_done_callback(self._tasks.discard)
        return ending

    async def all_by(self, deadline: float) -> None:
        for ending in tuple(self._tasks):
            await settled_within(self._clock, ending, deadline - self._clock.now())
