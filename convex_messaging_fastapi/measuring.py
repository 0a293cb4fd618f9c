"""How fast handlers are: an observer that knows the rates and percentiles of the last minute."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf

from convex_messaging_fastapi.events import AttemptEnded, AttemptOutcome, Observer
from convex_messaging_fastapi.records import Record

SLOT_SECONDS = 5
SLOTS = 12
"""A minute is looked back on, in slots of five seconds: what is kept of a handler never grows."""

BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""In seconds; OpenTelemetry's. A percentile is as exact as these are dense."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one handler was in the last minute.

    `rate` is how many messages were handled a second. `p50_seconds` and `p95_seconds`: half of its attempts,
    and 95 of a hundred, took at most so long, failed ones included; `None` where there was none. A batch is
    one attempt. They are estimated between boundaries that are at most 2.5 times apart above 5 ms.
    """

    rate: float
    p50_seconds: float | None
    p95_seconds: float | None


class Measuring(Observer):
    """Gives `bus.status()` the speed of each handler of the bus, over the last minute.

        bus = MessageBus(observers=[Measuring()])

    Costs two looks at a clock an attempt, and a few hundred numbers a handler.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._minutes: dict[tuple[str, str], _Minute] = {}

    def handling(self, group: str, handler: str, records: Sequence[Record], attempt: int) -> AttemptEnded:
        now, messages = self._now, len(records)
        began = now()
        if (minute := self._minutes.get((group, handler))) is None:
            minute = self._begin(group, handler, began)

        def ended(outcome: AttemptOutcome, error: BaseException | None) -> None:
            at = now()
            minute.note(at, at - began, messages if outcome == "handled" else 0)

        return ended

    def speed(self, group: str, handler: str) -> Speed:
        """Of one handler; any thread may ask."""
        minute = self._minutes.get((group, handler))
        return Speed(0.0, None, None) if minute is None else minute.speed(self._now())

    def _begin(self, group: str, handler: str, now: float) -> _Minute:
        # Handlers come and go while a bus runs.
        for gone in [key for key, minute in self._minutes.items() if minute.is_over(now)]:
            del self._minutes[gone]
        minute = self._minutes[group, handler] = _Minute(now)
        return minute


@dataclass(slots=True)
class _Slot:
    """What ended within five seconds; `number` counts them since the clock began."""

    number: int = -1
    messages: int = 0
    longest: float = 0.0
    attempts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDARIES) + 1))


class _Minute:
    """What ended within the last minute, in slots that are used again."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._slots = [_Slot() for _ in range(SLOTS)]
        self._slot, self._ends = self._slots[0], -inf  # what is noted in, and until when

    def note(self, at: float, took: float, messages: int) -> None:
        slot = self._slot if at < self._ends else self._next_slot(at)
        slot.messages += messages
        slot.attempts[bisect_left(BOUNDARIES, took)] += 1
        if took > slot.longest:
            slot.longest = took

    def is_over(self, now: float) -> bool:
        return now - max(self._ends, self._since) >= SLOTS * SLOT_SECONDS

    def _next_slot(self, at: float) -> _Slot:
        number = int(at // SLOT_SECONDS)
        self._slot = self._slots[number % SLOTS] = _Slot(number)
        self._ends = (number + 1) * SLOT_SECONDS
        return self._slot

    def speed(self, now: float) -> Speed:
        first = int(now // SLOT_SECONDS) - SLOTS + 1
        slots = [slot for slot in self._slots if slot.number >= first]
        # A handler that has just begun is no slower for the time before, nor endlessly fast.
        seconds = max(now - max(first * SLOT_SECONDS, self._since), SLOT_SECONDS)
        attempts = [sum(counts) for counts in zip(*(slot.attempts for slot in slots), strict=True)]
        longest = max((slot.longest for slot in slots), default=0.0)
        return Speed(
            sum(slot.messages for slot in slots) / seconds,
            _percentile(attempts, 0.5, longest),
            _percentile(attempts, 0.95, longest),
        )


def _percentile(attempts: Sequence[int], share: float, longest: float) -> float | None:
    """Between the boundaries that it lies between, as if all there were evenly spread; at most `longest`."""
    if not (total := sum(attempts)):
        return None
    wanted = total * share
    sums = list(accumulate(attempts))
    index = bisect_left(sums, wanted)
    below = 0.0 if index == 0 else BOUNDARIES[index - 1]
    above = min(longest, BOUNDARIES[index]) if index < len(BOUNDARIES) else longest
    part = (wanted - (sums[index] - attempts[index])) / attempts[index]
    return below + (above - below) * part
