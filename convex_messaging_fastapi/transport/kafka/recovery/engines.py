"""What a supervisor works with: an engine, how one is made, and the owner of what it holds."""

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
    """The supervisor was stopped: no engine will run again."""


@dataclass(frozen=True, slots=True)
class EngineKind(Generic[E]):
    """How engines of one kind are made; log lines call the part of the bus that they serve `name`.

    With `overlap` a successor starts while its predecessor is still ending; without it, afterwards.
    """

    name: str
    reach: Callable[[], Awaitable[Reached | Explanation]]
    build: Callable[[Reached], E]
    overlap: bool


class Owner(Protocol[T]):
    def started(self, engine: T) -> None:
        """The engine runs, and no other caller has it yet."""
        ...

    async def lost(self, engine: T) -> None:
        """The engine is broken, and what it held is lost. It is ended once this returns."""
        ...


class Slot(Generic[E]):
    """Holds the engine that runs; `None` while none does."""

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
        """Let no caller wait any longer; returns the engine that ran."""
        last, self.current, self.closed = self.current, None, True
        self._changed.set()
        return last


class Endings:
    """Engines that are being ended."""

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
