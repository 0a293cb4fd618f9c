"""What tests of the bus share: a bus that knows nothing from outside, and a message to send over it."""

from __future__ import annotations

from typing import Any

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingSettings


class Bet(ConvexMessage):
    bet_id: int
    player: str = "ada"


def memory_bus(**choices: Any) -> MessageBus:
    return MessageBus(
        MessagingSettings(**{"bootstrap_servers": "memory://", "consumer_group": "bets", **choices})
    )
