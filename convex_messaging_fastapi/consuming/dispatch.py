"""Takes a message through one turn: an attempt; if it fails, `retry` decides: again later, or its ending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.attempts import blamed_on_message
from convex_messaging_fastapi.consuming.breaking import CircuitBreaker
from convex_messaging_fastapi.consuming.calling import CallContext, CallPlan
from convex_messaging_fastapi.consuming.endings import Ending
from convex_messaging_fastapi.consuming.outcome import Outcome, Tally
from convex_messaging_fastapi.consuming.retry import (
    Decision,
    Discarded,
    GiveUp,
    TryAgain,
    decide,
    may_be_retried,
    members_done,
    outcome_of,
)
from convex_messaging_fastapi.consuming.runners import Runners
from convex_messaging_fastapi.consuming.timeout import AttemptTimeout
from convex_messaging_fastapi.events import AttemptEnded, Retried
from convex_messaging_fastapi.failures import Failure, failure_of
from convex_messaging_fastapi.measuring import Speed
from convex_messaging_fastapi.messages.bounds import LARGE_BYTES, Bounds
from convex_messaging_fastapi.middleware import CallNext, Middleware, around_handler
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.policies import Retry
from convex_messaging_fastapi.records import Delivery, delivery_of


@dataclass(frozen=True, slots=True)
class HandlerConfig:
    """How one handler is called, and what follows when it fails, with every default filled in."""

    plan: CallPlan
    group: str
    handler: str
    retry: Retry
    timeout: float | None
    is_batch: bool
    bounds: Bounds = field(default_factory=Bounds)
    error_texts: bool = True
    middleware: Sequence[Middleware] = ()
    """The outermost first; the timeout is around all of them."""
    observers: Observers = ONLY_THE_LOG
    breaker: CircuitBreaker | None = None
    name: str = field(init=False)
    """Among the subscriptions of all groups."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.group}/{self.handler}")


class Dispatch:
    """Takes jobs of one subscription through their turns."""

    def __init__(
        self,
        config: HandlerConfig,
        call_context: CallContext,
        ending: Ending,
        tally: Tally,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._config = config
        decoder = config.plan.decoder.within(config.bounds)
        self._decode: Callable[[bytes | None], Any] = decoder.decode
        self._decode_by_headers = decoder.decode if decoder.asks_headers else None
        self._large: float = inf if decoder.is_raw else LARGE_BYTES
        self._attempt_begins = config.observers.attempts_of(config.group, config.handler)
        handler = _called_by(config.plan, call_context)
        self._call = around_handler(_wrapping(config, clock), handler)
        is_plain = config.plan.is_direct and self._call is handler and not config.is_batch
        self._plain: Callable[[Any], Awaitable[None]] | None = config.plan.function if is_plain else None
        self._call_context = call_context
        self._ending = ending
        self._random = random
        self.runners: Runners = Runners(clock)
        self.tally = tally

    @property
    def breaker(self) -> CircuitBreaker | None:
        return self._config.breaker

    @property
    def speed(self) -> Speed | None:
        """How fast the handler is, where that is measured."""
        return self._config.observers.speed_of(self._config.group, self._config.handler)

    async def handle(self, jobs: Sequence[Job]) -> Outcome | None:
        """One turn of these jobs: a single one, or the members of a batch in order.

        `None`, the outcome of nearly all, means that every job is finished.
        """
        if self._config.is_batch:
            return await self._handle_batch(jobs)
        job = jobs[0]
        if job.failure is not None:
            return await self._ending.end(job)
        begins = self._attempt_begins
        end = None if begins is None else begins((job.record,), job.attempts + 1)
        error: BaseException | None
        try:
            value = job.record.value
            decode = self._decode if self._decode_by_headers is None else self._decoding(job)
            if value is not None and len(value) > self._large:
                message = await self._call_context.decode_thread.read(decode, value)
            else:
                message = decode(value)
            # Called directly: one more frame would cost each message as much as calling an empty handler.
            if self._plain is not None:
                await self._plain(message)
            else:
                await self._call(
                    delivery_of(job.record, job.attempts + 1, job.owned.lease, self._config.name), message
                )
            error = None
        except BaseException as problem:  # noqa: BLE001 - raised again where it is not the message's doing
            error = self._blamed(problem, end)
        if end is not None:
            end("handled" if error is None else outcome_of(error), error)
        if error is None:
            self.tally.handled += 1
            return None
        return await self._failed(job, error)

    async def failed(self, job: Job, error: BaseException) -> Outcome:
        """The same of one message that failed before anything of it was attempted here."""
        self._tell_of_failed(job, error)
        return await self._failed(job, error)

    async def _failed(self, job: Job, error: BaseException) -> Outcome:
        """What becomes of one message whose attempt failed with `error`."""
        outcome = self._judge((job,), error)
        if outcome is not None:
            return outcome
        self._note_failure(job, error)
        return await self._ending.end(job)

    async def _handle_batch(self, jobs: Sequence[Job]) -> Outcome:
        """End undecodable members first; then handle the rest at once, or singly once attempts are spent.

        If such a member cannot end, the members before it are handled, and the others wait behind it.
        """
        ended: list[Job] = []
        messages: list[Any] = []
        members: list[Job] = []
        for index, job in enumerate(jobs):
            if await self._decode_member(job, messages):
                members.append(job)
                continue
            end = await self._ending.end(job)
            if not end.finished:
                return _in_order(ended, await self._handle_members(members, messages), jobs[index:], end)
            ended.append(job)
        outcome = await self._handle_members(members, messages)
        return Outcome([*ended, *outcome.finished], outcome.again, outcome.delay, outcome.hold)

    async def _decode_member(self, job: Job, messages: list[Any]) -> bool:
        if job.failure is None:
            value, decode = job.record.value, self._decoding(job)
            try:
                if value is not None and len(value) > self._large:
                    messages.append(await self._call_context.decode_thread.read(decode, value))
                else:
                    messages.append(decode(value))
            except BaseException as problem:  # noqa: BLE001 - whatever a codec raises is this record's failure
                error = blamed_on_message(problem, self.runners)
                self._tell_of_failed(job, error)
                self.tally.failed_attempts += 1
                job.attempts += 1
                self._note_failure(job, error)
        return job.failure is None

    def _decoding(self, job: Job) -> Callable[[bytes | None], Any]:
        if self._decode_by_headers is None:
            return self._decode
        return partial(self._decode_by_headers, headers=job.record.headers)

    async def _handle_members(self, members: Sequence[Job], messages: Sequence[Any]) -> Outcome:
        if not members:
            return Outcome()
        error = await self._failure_of_batch(members, messages)
        done = len(members) if error is None else members_done(error)
        finished, rest = members[:done], members[done:]
        self.tally.handled += len(finished)
        if finished and self.breaker is not None:
            self.breaker.succeeded(finished)
        if error is None or not rest:
            return Outcome(finished=finished)
        judged = self._judge(rest, error)
        if judged is not None:
            return Outcome([*finished, *judged.finished], judged.again, judged.delay)
        if len(members) > 1:
            for job in rest:
                job.single = True
            return Outcome(finished, rest)
        self._note_failure(rest[0], error)
        ended = await self._ending.end(rest[0])
        return Outcome([*finished, *ended.finished], ended.again, ended.delay, ended.hold)

    async def _failure_of_batch(
        self, members: Sequence[Job], messages: Sequence[Any]
    ) -> BaseException | None:
        deliveries = [self.delivery(job) for job in members]
        begins, error = self._attempt_begins, None
        end = begins and begins([job.record for job in members], members[0].attempts + 1)
        try:
            await self._call(deliveries, list(messages))
        except BaseException as problem:  # noqa: BLE001 - raised again where it is not the messages' doing
            error = self._blamed(problem, end)
        if end is not None:
            end("handled" if error is None else outcome_of(error), error)
        return error

    def _blamed(self, problem: BaseException, end: AttemptEnded | None) -> BaseException:
        try:
            return blamed_on_message(problem, self.runners)
        except BaseException:
            if end is not None:
                end("cancelled", problem)
            raise

    def delivery(self, job: Job) -> Delivery:
        """What the handler is told of a message at its next attempt."""
        return delivery_of(job.record, job.attempts + 1, job.owned.lease, self._config.name)

    def _tell_of_failed(self, job: Job, error: BaseException) -> None:
        begins = self._attempt_begins
        if begins is not None and (end := begins((job.record,), job.attempts + 1)) is not None:
            end(outcome_of(error), error)

    def _judge(self, jobs: Sequence[Job], error: BaseException) -> Outcome | None:
        """What `retry` says of a failed attempt; `None` when it says to give up."""
        for job in jobs:
            job.attempts += 1
        decision = decide(self._config.retry, error, jobs[0].attempts, self._random())
        if decision != Discarded(repeat=True):
            self.tally.failed_attempts += 1
        if self._is_kept(jobs, error, decision):
            return Outcome(
                again=jobs, delay=decision.delay_seconds if isinstance(decision, TryAgain) else 0.0
            )
        match decision:
            case TryAgain(delay):
                retried = Retried(jobs[0].record, self._failure(jobs[0], error), delay)
                self._config.observers.retried(retried)
                return Outcome(again=jobs, delay=delay)
            case Discarded(repeat):
                if repeat:
                    self.tally.already_handled += len(jobs)
                else:
                    self.tally.discarded += len(jobs)
                return Outcome(finished=jobs)
            case GiveUp():
                return None

    def _is_kept(self, jobs: Sequence[Job], error: BaseException, decision: Decision) -> bool:
        if self.breaker is None:
            return False
        may_help, gives_up = may_be_retried(self._config.retry, error), isinstance(decision, GiveUp)
        return self.breaker.keeps(jobs, error, may_be_retried=may_help, gives_up=gives_up)

    def _note_failure(self, job: Job, error: BaseException) -> None:
        job.failure = self._failure(job, error)

    def _failure(self, job: Job, error: BaseException) -> Failure:
        config = self._config
        return failure_of(error, job.attempts, config.group, config.handler, texts=config.error_texts)


def _called_by(plan: CallPlan, call_context: CallContext) -> CallNext:
    """The handler with its dependencies, as the innermost of what wraps it."""
    if plan.is_direct:
        return lambda delivery, message: plan.function(message)
    return lambda delivery, message: plan.call(message, delivery, call_context)


def _wrapping(config: HandlerConfig, clock: Clock) -> Sequence[Middleware]:
    if config.timeout is None:
        return config.middleware
    return AttemptTimeout(config.timeout, clock), *config.middleware


def _in_order(ended: Sequence[Job], before: Outcome, rest: Sequence[Job], end: Outcome) -> Outcome:
    """The outcome of a batch whose member `rest[0]` cannot end; `before` is that of the members before it.

    While those are tried again, the partition is not held for that member: its turn has not come.
    """
    finished, again = [*ended, *before.finished], [*before.again, *rest]
    if before.hold is not None:
        return Outcome(finished, again, before.delay, before.hold)
    is_for_good = end.delay is None
    hold = end.hold if is_for_good or not before.again else None
    return Outcome(finished, again, before.delay if before.again else end.delay, hold)
