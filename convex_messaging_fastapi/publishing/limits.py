"""How much one publisher accepts, in bytes of keys, values and headers."""

from __future__ import annotations

from dataclasses import dataclass

from convex_messaging_fastapi.messages.bounds import dead_letter_bytes

MIB = 1024 * 1024

KEPT_BYTES = 512
"""Memory of a waiting message beside its own bytes: each message counts as this much more."""

LARGEST_DEAD_LETTER_BYTES = 2**31 - 1 - MIB
"""Kafka counts a batch with 31 bits."""


@dataclass(frozen=True, slots=True)
class PublishLimits:
    """`message_bytes` for one message, `pending_bytes` for all that wait to be acknowledged.

    Of one message the value may have so many, and key and headers together as many again, so that a
    value of just that size is written whatever headers it gets.

    Dead letters are outside both: each may have `dead_letter_bytes`, and those that wait share
    `pending_dead_letter_bytes`, of which one that is larger takes all.
    """

    message_bytes: int = 10 * MIB
    pending_bytes: int = 256 * MIB
    pending_dead_letter_bytes: int = 16 * MIB

    @property
    def dead_letter_bytes(self) -> int:
        return min(dead_letter_bytes(self.message_bytes), LARGEST_DEAD_LETTER_BYTES)
