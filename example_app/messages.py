"""What the service says to others: events in the past tense, commands as requests."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from convex_messaging_fastapi import ConvexMessage


class UserCreated(ConvexMessage):
    """Event `user.created`."""

    user_id: int
    email: str
    created_at: datetime


class BetPlaced(ConvexMessage):
    """Event `bet.placed`."""

    bet_id: int
    user_id: int
    stake: Decimal
    card: str


class SendWelcome(ConvexMessage):
    """Command for the queue `user.notifications`."""

    user_id: int
    email: str


class TakePayment(ConvexMessage):
    """Command for the queue `payments`."""

    bet_id: int
    amount: Decimal
    card: str
