"""Keeps one engine alive: starts it, watches it, explains its silence, replaces it with back-off."""

from __future__ import annotations

import asyncio
from typing import Any, Generic

from aiokafka.errors import KafkaError

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, settled_within, sleep
from convex_messaging_fastapi.transport.base import Contact, Problem
from convex_messaging_fastapi.transport.kafka.recovery.backoff import Backoff
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import (
    Explanation,
    explain_astray,
    explain_membership,
)
from convex_messaging_fastapi.transport.kafka.recovery.engines import E, Endings, EngineKind, Owner, Slot
from convex_messaging_fastapi.transport.kafka.recovery.outage import Outage
from convex_messaging_fastapi.transport.kafka.recovery.probe import Reached
from convex_messaging_fastapi.transport.kafka.recovery.vitals import Step, Vitals
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

_SILENT = Explanation(Problem.BROKER_UNREACHABLE, "silent, though the cluster answers")


class Supervisor(Generic[E]):
    """Runs one engine of `kind` at a time for an owner, who holds what the engine was given."""

    def __init__(self, kind: EngineKind[E], clock: Clock, tuning: Tuning, outage: Outage) -> None:
        self._kind, self._clock, self._tuning, self._outage = kind, clock, tuning, outage
        self._slot = Slot[E]()
        self._endings = Endings(clock)
        self._vitals = Vitals()
        self._backoff = Backoff(tuning)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None

    def start(self, owner: Owner[E]) -> None:
        self._task = asyncio.get_running_loop().create_task(
            self._run(owner), name=f"{self._kind.name} supervisor"
        )
        self._task.add_done_callback(self._say_why_it_ended)

    async def stop(self, deadline: float) -> None:
        """End everything by `deadline`, in any state. Never raises."""
        last = self._slot.close()
        self._outage.forget(self._kind.name)
        if self._task is not None:
            self._task.cancel()
            await settled_within(self._clock, self._task, deadline - self._clock.now())
        if self._asking is not None:
            self._asking.cancel()
        if last is not None:
            self._endings.let_go(last, deadline)
        await self._endings.all_by(deadline)

    @property
    def current(self) -> E | None:
        return self._slot.current

    async def engine(self) -> E:
        """The engine that runs; waits for one as long as it takes. Raises `Ended`."""
        return await self._slot.engine()

    def replace(self, engine: E, why: Explanation, *, at_once: bool = False) -> None:
        """Replace a broken engine; does nothing if it is no longer the one that runs.

        `at_once`: the cluster is not to blame, so the successor starts without a pause.
        """
        if engine is not self._slot.current:
            return
        self._outage.replaced(self._kind.name, why.detail)
        self._slot.empty()
        self._vitals = self._vitals.replaced(why)
        if at_once:
            self._backoff.forgive()
        self._wake.set()

    def contact(self, *, member: bool) -> Contact:
        ended = self._task is not None and self._task.done() and not self._slot.closed
        return self._vitals_now().contact(member=member, alive=not ended)

    async def _run(self, owner: Owner[E]) -> None:
        while True:
            engine = await self._begin(owner)
            began = self._clock.now()
            await self._watch(engine)
            await owner.lost(engine)
            ending = self._endings.let_go(engine, self._clock.now() + self._tuning.stop_seconds)
            if not self._kind.overlap:
                await asyncio.wait([ending])
            self._backoff.lived(self._clock.now() - began)

    async def _begin(self, owner: Owner[E]) -> E:
        """Start an engine, trying until one runs."""
        while True:
            why = self._vitals.why
            await sleep(self._clock, self._backoff.pause(refused=why is not None and why.refused))
            reached = await self._kind.reach()
            if isinstance(reached, Reached):
                engine = self._kind.build(reached)
                if await self._started_up(engine, reached):
                    self._take(engine, owner)
                    return engine
            else:
                self._not_reached(reached)
            self._backoff.failed()

    async def _started_up(self, engine: E, reached: Reached) -> bool:
        starting = asyncio.ensure_future(engine.start())
        soon, late = self._tuning.explain_after_seconds, self._tuning.start_seconds
        try:
            if not await settled_within(self._clock, starting, min(soon, late)):
                self._look_for_it_elsewhere(engine, reached)
                await settled_within(self._clock, starting, late - min(soon, late))
            failure = _failed_start(starting)
        except asyncio.CancelledError:
            starting.cancel()
            self._endings.let_go(engine, self._clock.now())
            raise
        if failure is None:
            return True
        why = self._vitals.astray or failure
        self._vitals = self._vitals.failed(why)
        self._outage.suffers(self._kind.name, "did not start", why.detail)
        starting.cancel()
        self._endings.let_go(engine, self._clock.now() + self._tuning.stop_seconds)
        return False

    def _take(self, engine: E, owner: Owner[E]) -> None:
        if self._vitals.astray is None:
            self._outage.is_over(self._kind.name)
        self._vitals = self._vitals.started().heard(self._clock.now(), engine.client.seconds_since_answer())
        owner.started(engine)
        self._slot.put(engine)

    async def _watch(self, engine: E) -> None:
        """Look at the engine every `look_every_seconds`, until it is to be replaced."""
        while self._slot.current is engine:
            timer = self._clock.call_later(self._tuning.look_every_seconds, self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()
            if self._slot.current is engine:
                self._look(engine)

    def _look(self, engine: E) -> None:
        now, self._vitals = self._clock.now(), self._vitals_now()
        if (failure := engine.failure()) is not None:
            self.replace(engine, Explanation(Problem.ENGINE_FAILED, failure))
            return
        match self._vitals.step(now, self._tuning, refused=engine.client.refused):
            case Step.FINE:
                self._vitals = self._vitals.fine()
                self._outage.is_over(self._kind.name)
            case Step.REPLACE:
                self.replace(engine, self._vitals.astray or _SILENT)
            case Step.ASK if self._asking is None or self._asking.done():
                self._vitals = self._vitals.asked(now)
                self._asking = asyncio.get_running_loop().create_task(self._ask(engine))
        if self._vitals.silence(now) > self._tuning.ask_after_seconds or engine.needs_metadata():
            engine.client.refresh_metadata()
        engine.client.ping_overdue_connections(self._tuning.ask_after_seconds)

    def _vitals_now(self) -> Vitals:
        if (engine := self._slot.current) is None:
            return self._vitals
        return self._vitals.heard(self._clock.now(), engine.client.seconds_since_answer())

    async def _ask(self, engine: E) -> None:
        """Connect by ourselves, to learn why the engine's connections are silent."""
        answer = await self._kind.reach()
        if engine is not self._slot.current:
            return
        if isinstance(answer, Reached):
            self._look_for_it_elsewhere(engine, answer)
            if self._vitals.reached_at is None:
                # The cluster can be reached, and the engine hears nothing: its connections are dead without a
                # sign, and it would wait for their answers for half a minute.
                self._vitals = self._vitals.reached(self._clock.now())
                engine.reconnect()
        elif answer.refused:
            # Left alone, the engine would log in several times a second and lock the account.
            self.replace(engine, answer)
            self._backoff.failed()
        else:
            self._not_reached(answer)

    def _not_reached(self, answer: Explanation) -> None:
        self._vitals = self._vitals.unreachable(answer)
        self._outage.contact_lost(self._kind.name, answer.detail, self._vitals.heard_at)

    def _look_for_it_elsewhere(self, engine: E, reached: Reached) -> None:
        """Explain an engine that cannot reach brokers at the addresses that the cluster names.

        An engine that was well before is not judged: it may not have tried a broker that has just come back.
        """
        named = {id: at for id, at in engine.client.unreachable().items() if at != reached.server}
        vitals, runs = self._vitals, engine is self._slot.current
        was_well = runs and vitals.reached_at is None and vitals.heard_at is not None
        if named and not was_well:
            astray = explain_astray(reached.server, named)
            self._vitals = vitals.led_astray(astray)
            self._outage.suffers(self._kind.name, "gets no further", astray.detail)

    def _say_why_it_ended(self, task: asyncio.Task[None]) -> None:
        if self._slot.closed:
            return
        error = (None if task.cancelled() else task.exception()) or asyncio.CancelledError()
        said = f"the supervisor ended: {error!r}"
        self._vitals = self._vitals.failed(Explanation(Problem.ENGINE_FAILED, said))
        reports.defect(f"{self._kind.name} is no longer supervised", error, fatal=True)


def _failed_start(starting: asyncio.Future[Any]) -> Explanation | None:
    if not starting.done():
        return Explanation(Problem.BROKER_UNREACHABLE, "the engine did not start in time")
    if (error := starting.exception()) is None:
        return None
    if isinstance(error, KafkaError | OSError):
        return explain_membership(error)
    return Explanation(Problem.ENGINE_FAILED, f"the engine did not start: {error!r}")
