"""Decides whether failures are an outage: when to hold everything back, and when to try one message.

Pure: it is told what becomes of attempts, and answers. A lane is messages that are handled one after
another, so it has at most one attempt at a time; a message is whatever tells one from another, and a
batch counts as one. A message that is rejected, invalid or discarded says nothing about an outage.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from convex_messaging_fastapi.policies import MAX_BREAKER_WAIT_SECONDS, Breaker

FEWEST_LANES = 3
"""So many lanes must fail: one key, or two, may be poisoned as well."""

WINDOW_WAITS = 4
"""How many times the wait an attempt says something about the present."""


class _Attempt(NamedTuple):
    """The last attempt of one message."""

    lane: Hashable
    failed: bool
    at: float


class _Failing(NamedTuple):
    """The message at the head of a lane has failed, first when so many attempts had begun."""

    message: Hashable
    since: int


class Circuit:
    """Closed while messages may be handled; open while an outage lasts. Times are seconds of one clock."""

    def __init__(self, policy: Breaker) -> None:
        self._policy = policy
        self._window: OrderedDict[Hashable, _Attempt] = OrderedDict()
        self._failing: dict[Hashable, _Failing] = {}
        self._numbers: dict[Hashable, int] = {}  # of the attempts under way, by their lanes
        self._begun = 0  # attempts so far
        self._last_good = 0  # the highest number among the attempts that succeeded
        self._tried: set[Hashable] = set()  # lanes whose attempts have begun since it opened
        self._probe: Hashable | None = None  # the one of them that is waited for
        self.wait_seconds: float | None = None  # of an open circuit, before it tries one message
        self.tries_at: float = 0.0
        self.failed_probes: int = 0

    @property
    def is_open(self) -> bool:
        return self.wait_seconds is not None

    def may_begin(self, now: float) -> bool:
        """Whether an attempt may begin; while the circuit is open, it is then the one that is tried."""
        return not self.is_open or (self._probe is None and now >= self.tries_at)

    def begin(self, lane: Hashable) -> None:
        """An attempt of this lane begins."""
        self._begun += 1
        self._numbers[lane] = self._begun
        if self.is_open:
            self._probe = lane
            self._tried.add(lane)

    def succeeded(self, lane: Hashable, message: Hashable, now: float) -> None:
        """The attempt of this lane has. One that began before the circuit opened closes nothing."""
        self._last_good = max(self._last_good, self._numbers.get(lane, 0))
        if self.is_open:
            if lane in self._tried:
                self.close()
            return
        self._failing.pop(lane, None)
        self._note(message, _Attempt(lane, False, now))

    def failed(self, lane: Hashable, message: Hashable, now: float, lanes: int) -> None:
        """The attempt of this lane has, and may be repeated. `lanes` is how many have work."""
        if self.is_open:
            if lane == self._probe:
                self._probe_failed(now)
            return
        before = self._failing.get(lane)
        is_known = before is not None and before.message == message
        self._failing[lane] = before if before is not None and is_known else _Failing(message, self._begun)
        self._note(message, _Attempt(lane, True, now))
        if self._is_outage(lanes, now):
            self._open(now)

    def late(self, now: float) -> bool:
        """The message that is tried is not waited for any longer: it may hang. False if there is none."""
        if self._probe is None:
            return False
        self._probe_failed(now)
        return True

    def may_give_up(self, lane: Hashable, now: float) -> bool:
        """Whether the failing message of this lane may be; if not, the circuit is open from now on."""
        failing = self._failing.get(lane)
        if self.is_open or failing is None:
            return not self.is_open
        # An attempt that began before the first failure may have found all well until just then.
        if len(self._failing) >= FEWEST_LANES and self._last_good <= failing.since:
            self._open(now)
            return False
        return True

    def ended(self, lane: Hashable) -> None:
        """The attempt of this lane is over. If the circuit learnt nothing from it, another may be tried."""
        self._numbers.pop(lane, None)
        self._tried.discard(lane)
        if lane == self._probe:
            self._probe = None

    def forget(self, lanes: Iterable[Hashable]) -> None:
        """The messages at the heads of these lanes are no longer to be handled here."""
        for lane in lanes:
            self._failing.pop(lane, None)

    def close(self) -> None:
        """Whatever failed is given another chance. Harmless while the circuit is closed."""
        self.wait_seconds = None
        self._probe = None
        self._tried.clear()
        self._window.clear()
        self._failing.clear()

    def _open(self, now: float) -> None:
        self.close()
        self.failed_probes = 0
        self.wait_seconds = self._policy.wait_seconds
        self.tries_at = now + self.wait_seconds

    def _probe_failed(self, now: float) -> None:
        self._probe = None
        self.failed_probes += 1
        self.wait_seconds = min(2 * (self.wait_seconds or 0.0), MAX_BREAKER_WAIT_SECONDS)
        self.tries_at = now + self.wait_seconds

    def _note(self, message: Hashable, attempt: _Attempt) -> None:
        window = self._window
        window.pop(message, None)
        window[message] = attempt
        if len(window) > self._policy.of:
            window.popitem(last=False)

    def _is_outage(self, lanes: int, now: float) -> bool:
        since = now - WINDOW_WAITS * self._policy.wait_seconds
        recent = [attempt for attempt in self._window.values() if attempt.at >= since]
        if len(recent) < max(FEWEST_LANES, min(self._policy.of, lanes)):
            return False
        failing = [attempt.lane for attempt in recent if attempt.failed]
        return len(failing) / len(recent) >= self._policy.share and len(set(failing)) >= FEWEST_LANES
