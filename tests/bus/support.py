"""What tests of the bus share: a bus that knows nothing from outside, and a message to send over it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingSettings, Middleware, Observer


class Bet(ConvexMessage):
    bet_id: int
    player: str = "ada"


def memory_bus(
    *, middleware: Iterable[Middleware] = (), observers: Iterable[Observer] = (), **choices: Any
) -> MessageBus:
    settings = {"bootstrap_servers": "memory://", "consumer_group": "bets", **choices}
    return MessageBus(MessagingSettings(**settings), middleware=middleware, observers=observers)
