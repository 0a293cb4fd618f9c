"""The arithmetic of leases: how many lanes a relay may hold, and until when it may send for one.

A lane is one of `LANES` parts of the outbox. The database tells who holds it and until when, by its own
clock; the relay counts the same time from the moment *before* it asked. So a relay believes that it has
lost a lane before the database lets another one have it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from convex_messaging_fastapi.outbox.tables import LANES

_A_THIRD = 3


def _running_seconds() -> Callable[[], float]:
    # CLOCK_MONOTONIC stands still while a virtual machine is suspended, and the lease goes on without it.
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if clock is None else lambda: time.clock_gettime(clock)


seconds: Callable[[], float] = _running_seconds()
"""Seconds that also pass while the machine is suspended; only differences mean anything."""


class Claim(NamedTuple):
    """A lane that the database says is ours. Each owner has a `token` greater than those before it."""

    lane: int
    token: int


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long a lease holds, and what follows from it. Seconds."""

    lease: float

    @property
    def beat(self) -> float:
        """From one renewal to the next: two of them may fail."""
        return self.lease / _A_THIRD

    @property
    def least_left(self) -> float:
        """What must be left of a lease before anything is sent under it."""
        return self.lease / _A_THIRD

    def deadline(self, asked_at: float) -> float:
        """Until when a lane is ours that was given in answer to what was asked at `asked_at`."""
        return asked_at + self.lease

    def may_send(self, deadline: float, now: float) -> bool:
        """The gate: whether there is time enough to send something and to hear what became of it."""
        return deadline - now >= self.least_left


def share_of(live: int) -> int:
    """How many lanes each of `live` relays may hold; so many that together they hold all."""
    return -(-LANES // max(1, live))


def too_few(held: int, live: int) -> int:
    """How many more lanes a relay should take."""
    return max(0, share_of(live) - held)


def surplus(held: Iterable[int], live: int) -> Sequence[int]:
    """The lanes that a relay should give back, so that those that came later get their share."""
    return sorted(held)[share_of(live) :]


class Lanes:
    """The lanes that this process holds, each with its token, and until when.

    What is let go here is given back in the database only afterwards: never the other way round.
    """

    def __init__(self, terms: LeaseTerms) -> None:
        self._terms = terms
        self._tokens: dict[int, int] = {}
        self._deadlines: dict[int, float] = {}

    @property
    def tokens(self) -> Mapping[int, int]:
        """The token of each lane that is held."""
        return self._tokens

    def take_in(self, claims: Iterable[Claim], asked_at: float) -> frozenset[int]:
        """Hold what the database gave in answer to what was asked at `asked_at`; returns what is new.

        A lane with another token than before was another relay's in between, and so is new as well.
        """
        deadline, new = self._terms.deadline(asked_at), set()
        for lane, token in claims:
            if self._tokens.get(lane) != token:
                new.add(lane)
            self._tokens[lane] = token
            self._deadlines[lane] = deadline
        return frozenset(new)

    def let_go(self, lanes: Iterable[int]) -> Sequence[Claim]:
        """Hold them no longer; returns what is to be given back in the database."""
        claims = []
        for lane in lanes:
            if (token := self._tokens.pop(lane, None)) is not None:
                del self._deadlines[lane]
                claims.append(Claim(lane, token))
        return claims

    def let_go_expired(self, now: float) -> Sequence[Claim]:
        """Hold none whose time is over: the database may have given it to another relay."""
        return self.let_go([lane for lane, deadline in self._deadlines.items() if deadline <= now])

    def sendable(self, now: float) -> frozenset[int]:
        """The lanes that pass the gate."""
        return frozenset(
            lane for lane, deadline in self._deadlines.items() if self._terms.may_send(deadline, now)
        )

    def time_left(self, lanes: Iterable[int], now: float) -> float:
        """How long all of these are ours; 0 if one of them is not."""
        return max(0.0, min((self._deadlines.get(lane, now) - now for lane in lanes), default=0.0))
