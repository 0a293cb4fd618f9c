"""Keeps one engine alive: starts it, listens for it, explains its silence, replaces it with back-off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from aiokafka.errors import KafkaError

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, settled_within, sleep
from convex_messaging_fastapi.transport.base import Contact, Problem
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import (
    Explanation,
    explain_astray,
    explain_membership,
)
from convex_messaging_fastapi.transport.kafka.recovery.outage import Outage
from convex_messaging_fastapi.transport.kafka.recovery.probe import Reached
from convex_messaging_fastapi.transport.kafka.tuning import Tuning


class Engine(Protocol):
    async def start(self) -> None: ...

    async def stop(self, clock: Clock, deadline: float) -> None: ...

    def failure(self) -> str | None: ...

    def silence(self) -> float | None: ...

    @property
    def refused(self) -> bool: ...

    def poke(self) -> None: ...

    def chase(self, seconds: float) -> None: ...

    def hang_up(self) -> None: ...

    def curious(self) -> bool: ...

    def unreachable(self) -> Mapping[int, str]: ...


E = TypeVar("E", bound=Engine)


class Ended(Exception):
    """The supervisor was stopped: there will be no engine any more."""


class Supervisor(Generic[E]):
    """One engine at a time. `build` makes one, `lost` is awaited before a broken one is let go.

    With `overlap` a successor starts while its predecessor is still ending; without it the
    predecessor ends first.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        tuning: Tuning,
        *,
        reach: Callable[[], Awaitable[Reached | Explanation]],
        build: Callable[[Reached], E],
        started: Callable[[E], None],
        lost: Callable[[E], Awaitable[None]],
        overlap: bool,
        outage: Outage,
    ) -> None:
        self._name, self._clock, self._tuning = name, clock, tuning
        self._reach, self._build, self._started, self._lost = reach, build, started, lost
        self._overlap, self._outage = overlap, outage
        self._task: asyncio.Task[None] | None = None
        self._current: E | None = None
        self._arrived = asyncio.Event()
        self._wake = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()
        self._explaining: asyncio.Task[None] | None = None
        self._last: float | None = None
        self._reached_at: float | None = None
        self._asked_at = float("-inf")
        self._why = Explanation(Problem.CONNECTING, "connecting")
        self._well = False
        self._rebuilds = 0
        self._failures = 0
        self._at_once = False
        self._astray: Explanation | None = None
        self._stopped = False
        self._ended = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{self._name} supervisor")
        self._task.add_done_callback(self._say_why_it_ended)

    async def stop(self, deadline: float) -> None:
        """End everything by `deadline`, whatever state it is in. Never raises."""
        self._stopped = True
        self._outage.forget(self._name)
        self._arrived.set()
        if self._task is not None:
            self._task.cancel()
            await settled_within(self._clock, self._task, deadline - self._clock.now())
        if self._explaining is not None:
            self._explaining.cancel()
        if self._current is not None:
            self._let_go(self._current, deadline)
            self._current = None
        for ending in tuple(self._ending):
            await settled_within(self._clock, ending, deadline - self._clock.now())

    @property
    def current(self) -> E | None:
        return self._current

    async def engine(self) -> E:
        """The engine that runs, waiting for one as long as it takes. Raises `Ended`."""
        while self._current is None:
            if self._stopped:
                raise Ended
            await self._arrived.wait()
        return self._current

    def replace(self, engine: E, why: Explanation, *, at_once: bool = False) -> None:
        """This engine is broken; nothing happens if it is no longer the one that runs.

        With `at_once` the cluster is not to blame, and the successor starts without a pause.
        """
        if engine is not self._current:
            return
        self._outage.replaced(self._name, why.detail)
        self._current = None
        self._arrived.clear()
        self._well, self._why = False, why
        self._rebuilds += 1
        self._at_once = at_once
        self._wake.set()

    def contact(self, *, member: bool) -> Contact:
        self._listen()
        if self._well:
            return Contact(self._last, member, None, "", self._rebuilds)
        why = self._why
        return Contact(self._last, member, why.problem, why.detail, self._rebuilds, alive=not self._ended)

    async def _run(self) -> None:
        while True:
            engine = await self._begin()
            began = self._clock.now()
            await self._watch(engine)
            await self._lost(engine)
            ending = self._let_go(engine, self._clock.now() + self._tuning.stop_seconds)
            if not self._overlap:
                await asyncio.wait([ending])
            lived_long = self._clock.now() - began > self._tuning.lived_long_seconds
            self._failures = 0 if lived_long or self._at_once else self._failures + 1

    async def _begin(self) -> E:
        """Start an engine, trying until one runs."""
        while True:
            await sleep(self._clock, self._pause())
            reached = await self._reach()
            if isinstance(reached, Reached):
                engine = self._build(reached)
                if await self._started_up(engine, reached):
                    return engine
            else:
                self._why = self._weigh(reached)
                self._outage.contact_lost(self._name, reached.detail, self._last)
            self._failures += 1

    async def _started_up(self, engine: E, reached: Reached) -> bool:
        starting = asyncio.ensure_future(engine.start())
        soon, late = self._tuning.explain_after_seconds, self._tuning.start_seconds
        try:
            if not await settled_within(self._clock, starting, min(soon, late)):
                self._look_for_it_elsewhere(engine, reached)
                await settled_within(self._clock, starting, late - min(soon, late))
            failure = _failed_start(starting)
            if failure is None:
                self._take(engine)
                return True
        except asyncio.CancelledError:
            starting.cancel()
            self._let_go(engine, self._clock.now())
            raise
        self._why = self._astray or failure
        self._outage.suffers(self._name, "did not start", self._why.detail)
        starting.cancel()
        self._let_go(engine, self._clock.now() + self._tuning.stop_seconds)
        return False

    def _take(self, engine: E) -> None:
        if self._astray is None:
            self._outage.is_over(self._name)
        self._current = engine
        self._well = self._astray is None
        self._reached_at = None
        self._listen()
        self._started(engine)
        self._arrived.set()

    async def _watch(self, engine: E) -> None:
        """Look at the engine now and then, until it is to be replaced."""
        while self._current is engine:
            timer = self._clock.call_later(self._tuning.look_every_seconds, self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()
            if self._current is engine:
                self._look(engine)

    def _look(self, engine: E) -> None:
        if (failure := engine.failure()) is not None:
            self.replace(engine, Explanation(Problem.ENGINE_FAILED, failure))
            return
        self._listen()
        silence = self._clock.now() - (self._last or 0.0)
        if silence <= self._tuning.explain_after_seconds and not engine.refused:
            self._well, self._reached_at, self._astray = True, None, None
            self._outage.is_over(self._name)
        else:
            self._explain(engine)
        if silence > self._tuning.ask_after_seconds or engine.curious():
            engine.poke()
        engine.chase(self._tuning.ask_after_seconds)

    def _listen(self) -> None:
        silence = self._current.silence() if self._current is not None else None
        if silence is not None:
            heard = self._clock.now() - silence
            self._last = heard if self._last is None else max(self._last, heard)

    def _explain(self, engine: E) -> None:
        """Make a connection of our own, one at a time and not often, to learn why this one is silent."""
        now = self._clock.now()
        if self._reached_at is not None and now - self._reached_at > self._tuning.replace_after_seconds:
            silent = Explanation(Problem.BROKER_UNREACHABLE, "silent, though the cluster answers")
            self.replace(engine, self._astray or silent)
        elif now - self._asked_at > self._tuning.retry_cap_seconds and self._explained():
            self._asked_at = now
            self._explaining = asyncio.get_running_loop().create_task(self._ask(engine))

    def _explained(self) -> bool:
        return self._explaining is None or self._explaining.done()

    async def _ask(self, engine: E) -> None:
        answer = await self._reach()
        if engine is not self._current:
            return
        if isinstance(answer, Reached):
            self._look_for_it_elsewhere(engine, answer)
            if self._reached_at is None:
                # The way is free, and the engine hears nothing: its connections are dead, though
                # nobody told it, and it would wait for their answers for half a minute.
                self._reached_at = self._clock.now()
                engine.hang_up()
        elif answer.refused:
            # Left alone, the engine would log in several times a second and lock the account.
            self.replace(engine, answer)
            self._failures += 1
        else:
            self._well, self._why, self._reached_at = False, self._weigh(answer), None
            self._outage.contact_lost(self._name, answer.detail, self._last)

    def _look_for_it_elsewhere(self, engine: E, reached: Reached) -> None:
        """An engine that is silent although the cluster answers may have been sent where nobody is.

        Where it was well before, a broker that has just come back may only not have been asked yet.
        """
        named = {id: at for id, at in engine.unreachable().items() if at != reached.server}
        was_well = self._reached_at is None and self._last is not None and engine is self._current
        if named and not was_well:
            self._astray = explain_astray(reached.server, named)
            self._well, self._why = False, self._astray
            self._outage.suffers(self._name, "gets no further", self._astray.detail)

    def _weigh(self, why: Explanation) -> Explanation:
        """Whoever was let in before is not kept out by a setting."""
        if why.certain or self._last is None:
            return why
        return why._replace(problem=Problem.BROKER_UNREACHABLE)

    def _pause(self) -> float:
        """Seconds before the next start: none at first, then doubling, less up to a fifth."""
        if not self._failures:
            return 0.0
        t = self._tuning
        first, cap = (
            (t.refused_retry_seconds, t.refused_cap_seconds)
            if self._why.refused
            else (t.retry_seconds, t.retry_cap_seconds)
        )
        return min(cap, first * 2.0 ** min(self._failures - 1, 16)) * random.uniform(0.8, 1.0)

    def _say_why_it_ended(self, task: asyncio.Task[None]) -> None:
        if self._stopped:
            return
        error = (None if task.cancelled() else task.exception()) or asyncio.CancelledError()
        self._well, self._ended = False, True
        self._why = Explanation(Problem.ENGINE_FAILED, f"the supervisor ended: {error!r}")
        reports.defect(f"{self._name} is no longer supervised", error, fatal=True)

    def _let_go(self, engine: E, deadline: float) -> asyncio.Task[None]:
        ending = asyncio.get_running_loop().create_task(engine.stop(self._clock, deadline))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending


def _failed_start(starting: asyncio.Future[Any]) -> Explanation | None:
    if not starting.done():
        return Explanation(Problem.BROKER_UNREACHABLE, "the engine did not start in time")
    if (error := starting.exception()) is None:
        return None
    if isinstance(error, KafkaError | OSError):
        return explain_membership(error)
    return Explanation(Problem.ENGINE_FAILED, f"the engine did not start: {error!r}")
