"""Acts on what a circuit decides: holds the topics, gives attempts back, and tries one message at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Protocol

from convex_messaging_fastapi.clock import Clock, Timer
from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.circuit import Circuit
from convex_messaging_fastapi.consuming.gate import Gate
from convex_messaging_fastapi.consuming.holds import Hold
from convex_messaging_fastapi.consuming.outcome import Outcome
from convex_messaging_fastapi.events import BreakerClosed, BreakerOpened
from convex_messaging_fastapi.failures import type_name
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.policies import Breaker
from convex_messaging_fastapi.status import BreakerStatus

BREAKER_OPEN = "breaker_open"
_OPEN = Hold(BREAKER_OPEN)

Handle = Callable[[Sequence[Job]], Awaitable[Outcome | None]]


class Protected(Protocol):
    """The subscription of a breaker, as far as it needs one."""

    @property
    def gate(self) -> Gate: ...

    @property
    def lanes_with_work(self) -> int: ...

    @property
    def has_ready(self) -> bool:
        """Whether some message could begin now."""
        ...

    def start_ready(self) -> None: ...

    def hold(self, owner: Hashable, hold: Hold) -> None:
        """Fetch nothing more of its topics."""
        ...

    def lift(self, owner: Hashable) -> None: ...


class CircuitBreaker:
    """Keeps the messages of one subscription while an outage lasts. The member stays in its group."""

    def __init__(
        self,
        policy: Breaker,
        lane_key: Callable[[Job], Hashable],
        clock: Clock,
        group: str,
        handler: str,
        observers: Observers = ONLY_THE_LOG,
    ) -> None:
        self._circuit = Circuit(policy)
        self._lane_key = lane_key
        self._clock = clock
        self._names = group, handler
        self._observers = observers
        self._protected: Protected | None = None
        self._failing: dict[Hashable, Sequence[Job]] = {}  # by their lanes
        self._timer: Timer | None = None
        self._opened_at = 0.0
        self._openings = 0

    def protect(self, protected: Protected) -> None:
        """Watch over this subscription from now on."""
        self._protected = protected

    def watching(self, handle: Handle) -> Handle:
        """The same, and what becomes of each attempt is noted."""

        async def watched(jobs: Sequence[Job]) -> Outcome | None:
            lane = self._lane(jobs[0])
            self._circuit.begin(lane)
            if self._circuit.is_open:
                self._is_tried()
            try:
                outcome = await handle(jobs)
                if outcome is None:
                    self.succeeded(jobs)
            except BaseException:
                self._forget(lane)  # cancelled: its next owner handles it
                raise
            finally:
                self._ended(lane)
            return outcome

        return watched

    def succeeded(self, jobs: Sequence[Job]) -> None:
        """The handler has returned from these."""
        lane, was_open = self._lane(jobs[0]), self._circuit.is_open
        self._circuit.succeeded(lane, _message(jobs[0]), self._clock.now())
        self._failing.pop(lane, None)
        if was_open and not self._circuit.is_open:
            self._has_closed()

    def keeps(
        self, jobs: Sequence[Job], error: BaseException, *, may_be_retried: bool, gives_up: bool
    ) -> bool:
        """Whether an outage is to blame for a failed attempt: then it does not count, and they are kept.

        `gives_up` says that otherwise it was their last.
        """
        circuit, job, now = self._circuit, jobs[0], self._clock.now()
        lane = self._lane(job)
        if not may_be_retried:
            self._forget(lane)
            return False
        before = circuit.is_open, circuit.tries_at
        self._failing[lane] = jobs
        circuit.failed(lane, _message(job), now, self._subscription.lanes_with_work)
        if not circuit.is_open and (not gives_up or circuit.may_give_up(lane, now)):
            if gives_up or job.owned.lease.revoked:
                self._forget(lane)
            return False
        self._give_attempts_back()
        if not before[0]:
            self._has_opened(error)
        if (circuit.is_open, circuit.tries_at) != before:
            self._wait()
        return True

    def forget(self, owned: OwnedPartition) -> None:
        """What waits of this partition is no longer to be handled here."""
        for lane in [lane for lane, jobs in self._failing.items() if jobs[0].owned is owned]:
            self._forget(lane)

    def close(self) -> None:
        """Whatever it waited for is over, somebody says. Harmless while it is closed."""
        if self._circuit.is_open:
            self._circuit.close()
            self._has_closed()

    def end(self) -> None:
        """The subscription is taken away."""
        self._stop_waiting()
        self._subscription.lift(self)

    def status(self) -> BreakerStatus:
        is_open = self._circuit.is_open
        return BreakerStatus(is_open, self._clock.now() - self._opened_at if is_open else 0.0, self._openings)

    @property
    def _subscription(self) -> Protected:
        assert self._protected is not None  # noqa: S101 - it is told before anything is handled
        return self._protected

    def _lane(self, job: Job) -> Hashable:
        return job.owned.topic_partition, self._lane_key(job)

    def _forget(self, lane: Hashable) -> None:
        self._circuit.forget((lane,))
        self._failing.pop(lane, None)

    def _give_attempts_back(self) -> None:
        for jobs in self._failing.values():
            for job in jobs:
                job.attempts = 0
        self._failing.clear()

    def _has_opened(self, error: BaseException) -> None:
        self._opened_at = self._clock.now()
        self._openings += 1
        seconds = self._circuit.tries_at - self._opened_at
        self._observers.breaker_opened(BreakerOpened(*self._names, type_name(error), seconds))

    def _wait(self) -> None:
        subscription = self._subscription
        if subscription.gate.closed:
            return  # nothing would lift its hold again
        subscription.gate.shut(self)
        # Where each lane was tried without success, only a message of another can tell of the end.
        if self._circuit.failed_probes >= subscription.lanes_with_work:
            subscription.lift(self)
        else:
            subscription.hold(self, _OPEN)
        self._stop_waiting()
        self._timer = self._clock.call_later(self._circuit.tries_at - self._clock.now(), self._try_one)

    def _try_one(self) -> None:
        subscription = self._subscription
        if not self._circuit.is_open or not self._circuit.may_begin(self._clock.now()):
            return
        if not subscription.has_ready:
            subscription.lift(self)
        subscription.gate.open(self)
        subscription.start_ready()

    def _is_tried(self) -> None:
        """One has begun, and no other does beside it for as long as it was waited for."""
        self._subscription.gate.shut(self)
        self._stop_waiting()
        self._timer = self._clock.call_later(self._circuit.wait_seconds or 0.0, self._is_late)

    def _is_late(self) -> None:
        """What hangs in a handler must not keep all others away."""
        if self._circuit.late(self._clock.now()):
            self._wait()

    def _ended(self, lane: Hashable) -> None:
        self._circuit.ended(lane)
        if self._circuit.is_open and self._circuit.may_begin(self._clock.now()):
            asyncio.get_running_loop().call_soon(self._try_one)  # it has told nothing

    def _has_closed(self) -> None:
        self._failing.clear()
        self._stop_waiting()
        seconds = self._clock.now() - self._opened_at
        self._observers.breaker_closed(BreakerClosed(*self._names, seconds))
        self._subscription.lift(self)
        self._subscription.gate.open(self)
        # Later, for this may be a runner that is not done with its message.
        asyncio.get_running_loop().call_soon(self._subscription.start_ready)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _message(job: Job) -> Hashable:
    """Tells messages apart without keeping one, and with it its bytes.

    By their places in the log: copies of two topics may say that their originals stood at one offset.
    """
    return job.owned.topic_partition, job.offset
