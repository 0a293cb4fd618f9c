"""Whether a member may still believe that what it holds is its own: only while its group hears of it."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.engine import Member
from convex_messaging_fastapi.transport.kafka.rebalance import Holding

EARLY_SECONDS = 0.25
"""Handlers are to have ended when another member begins; a fetch, which looks, takes no longer."""


class Session:
    """`parted` is what was let go of although nobody took it away."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds - EARLY_SECONDS
        self.parted: Holding | None = None

    def is_over(self, member: Member) -> bool:
        """Whether the group may have given away what this member holds, without a word to it."""
        return member.unheard() > self._seconds

    def returns(self, current: Member | None) -> bool:
        """Whether what was let go of has turned out to be ours still: heard again as who we were."""
        parted = self.parted
        return (
            parted is not None
            and parted.member is current
            and parted.member.identity == parted.who
            and parted.member.delivering
            and not self.is_over(parted.member)
        )
