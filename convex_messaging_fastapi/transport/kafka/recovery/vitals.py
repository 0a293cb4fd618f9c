"""What is known of an engine's contact with its cluster, and what to do next. Pure: nothing here acts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from convex_messaging_fastapi.transport.base import Contact, Problem
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import Explanation
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

_CONNECTING = Explanation(Problem.CONNECTING, "connecting")


class Step(Enum):
    """What a look at an engine leads to."""

    FINE = auto()
    WAIT = auto()
    ASK = auto()  # connect by ourselves, to learn why the engine is silent
    REPLACE = auto()


@dataclass(frozen=True, slots=True)
class Vitals:
    """One frozen state; each method returns the next. Times are on the clock.

    `heard_at` is when the cluster last answered this engine or one before it. `why` says why the engine is
    not well, and is `None` while it is. `astray` is set while the cluster names addresses that cannot be
    reached. Since `reached_at` the cluster answers our own connection, but not the engine; `asked_at` is when
    we last connected by ourselves.
    """

    heard_at: float | None = None
    why: Explanation | None = _CONNECTING
    astray: Explanation | None = None
    reached_at: float | None = None
    asked_at: float = float("-inf")
    rebuilds: int = 0

    def step(self, now: float, tuning: Tuning, *, refused: bool) -> Step:
        """`refused`: a broker has just refused the engine's credentials."""
        if self.silence(now) <= tuning.explain_after_seconds and not refused:
            return Step.FINE
        if self.reached_at is not None and now - self.reached_at > tuning.replace_after_seconds:
            return Step.REPLACE
        return Step.ASK if now - self.asked_at > tuning.retry_cap_seconds else Step.WAIT

    def silence(self, now: float) -> float:
        return now - (self.heard_at or 0.0)

    def contact(self, *, member: bool, alive: bool) -> Contact:
        if self.why is None:
            return Contact(self.heard_at, member, None, "", self.rebuilds)
        problem, detail, _ = self.why
        return Contact(self.heard_at, member, problem, detail, self.rebuilds, alive=alive)

    def heard(self, now: float, silence: float | None) -> Vitals:
        """`silence` is seconds; an engine without an open connection (`None`) tells nothing new."""
        if silence is None:
            return self
        at = now - silence
        return replace(self, heard_at=at if self.heard_at is None else max(self.heard_at, at))

    def fine(self) -> Vitals:
        return replace(self, why=None, astray=None, reached_at=None)

    def started(self) -> Vitals:
        """Another engine runs. If it was led astray while it started, it is not well yet."""
        return replace(self, why=self.astray, reached_at=None)

    def failed(self, why: Explanation) -> Vitals:
        """The engine did not start, or its supervisor has ended."""
        return replace(self, why=why)

    def replaced(self, why: Explanation) -> Vitals:
        return replace(self, why=why, rebuilds=self.rebuilds + 1)

    def asked(self, now: float) -> Vitals:
        return replace(self, asked_at=now)

    def reached(self, now: float) -> Vitals:
        """Our own connection got an answer."""
        return replace(self, reached_at=now)

    def unreachable(self, answer: Explanation) -> Vitals:
        """Our own connection got none either; after a login that is an outage, no wrong setting."""
        if not answer.certain and self.heard_at is not None:
            answer = answer._replace(problem=Problem.BROKER_UNREACHABLE)
        return replace(self, why=answer, reached_at=None)

    def led_astray(self, where: Explanation) -> Vitals:
        return replace(self, why=where, astray=where)
