"""What every page and every answer needs: the bus, what is noted of it, and who is let in."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.console.course import Course
from convex_messaging_fastapi.console.security import Callers, Refused, Tokens
from convex_messaging_fastapi.console.troubles import ERRORS, told, too_long
from convex_messaging_fastapi.operations import Operations

T = TypeVar("T")

Operator: TypeAlias = Callable[[Request], str | Awaitable[str]]
"""Who asks, as it is kept with what is done: at most 64 characters."""

MAX_BY = 64
MOST_REMEMBERED = 500


@dataclass(frozen=True, slots=True)
class Desk:
    """Of one console. `may_write` is whether it was made with the means to write."""

    bus: MessageBus
    course: Course
    tokens: Tokens
    operator: Operator | None = None
    callers: Callers = field(default_factory=Callers)
    _under_way: set[asyncio.Future[Any]] = field(default_factory=set)
    _done: dict[str, asyncio.Future[str]] = field(default_factory=dict)

    @property
    def may_write(self) -> bool:
        return self.operator is not None

    @property
    def operations(self) -> Operations:
        """Raises `Away` where the bus does not run."""
        with self.refusing():
            return self.bus.operations

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Tells what operations raise in the words of an answer: raises `Refused` in its place."""
        try:
            yield
        except ERRORS as error:
            raise told(error, self.bus.status()) from error

    async def asked(self, answer: Coroutine[Any, Any, T], seconds: float, *, is_shared: bool = False) -> T:
        """What operations answer within so many seconds. Raises `Refused` in their place.

        What takes longer is given up, unless it is shared by all who ask: then it goes on, and the next
        finds it further on. It counts as a caller until it has ended.
        """
        try:
            self.callers.come()
        except Refused:
            answer.close()
            raise
        work = asyncio.ensure_future(answer)
        work.add_done_callback(self.callers.go)
        try:
            done, _ = await asyncio.wait([work], timeout=seconds)
        except BaseException:
            work.cancel()
            raise
        if not done:
            self._keep(work)
            if not is_shared:
                work.cancel()
            raise too_long(self.bus.status(), goes_on=is_shared)
        with self.refusing():
            return work.result()

    async def done_within(self, deed: Awaitable[T], seconds: float) -> T | None:
        """The same for what writes, which goes on whoever leaves; `None` where it takes longer."""
        work = asyncio.ensure_future(deed)
        self._keep(work)
        done, _ = await asyncio.wait([work], timeout=seconds)
        if not done:
            return None
        with self.refusing():
            return work.result()

    async def once(self, token: str, deed: Coroutine[Any, Any, str]) -> str:
        """What came of it: a button that was pressed twice is pressed once."""
        if (first := self._done.get(token)) is not None:
            deed.close()
            return await asyncio.shield(first)
        while len(self._done) >= MOST_REMEMBERED:
            del self._done[next(iter(self._done))]
        work = self._done[token] = asyncio.ensure_future(deed)
        self._keep(work)
        try:
            return await asyncio.shield(work)
        except Refused:
            self._done.pop(token, None)  # nothing was done: it may be tried again
            raise

    async def who(self, request: Request) -> str:
        """The operator of this request. Raises `Refused` where nobody says who it is."""
        if self.operator is None:
            raise Refused(
                403,
                "This console only shows.",
                "To act from it, whoever runs the app gives messaging_console `writes=` and `operator=`.",
            )
        said = await run_in_threadpool(self.operator, request)
        name = await said if inspect.isawaitable(said) else said
        if not isinstance(name, str) or not name.strip():
            raise Refused(403, "Nobody says who you are.", "`operator=` of messaging_console answers a name.")
        return name.strip()[:MAX_BY]

    def _keep(self, work: asyncio.Future[Any]) -> None:
        self._under_way.add(work)
        work.add_done_callback(self._let_go)

    def _let_go(self, work: asyncio.Future[Any]) -> None:
        self._under_way.discard(work)
        if not work.cancelled():
            work.exception()  # whoever asked has left, or has been told
