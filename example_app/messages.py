"""What the service says to others: events in the past tense, commands as requests.

Every field has bounds: who may write to a topic decides what is in it, and a database takes no number of
thirty digits.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from convex_messaging_fastapi import ConvexMessage

Id = Annotated[int, Field(ge=0, le=2**63 - 1)]
Email = Annotated[str, Field(min_length=1, max_length=254)]
Card = Annotated[str, Field(max_length=64)]
Amount = Annotated[Decimal, Field(max_digits=18)]


class UserCreated(ConvexMessage):
    """Event `user.created`."""

    user_id: Id
    email: Email
    created_at: datetime


class BetPlaced(ConvexMessage):
    """Event `bet.placed`."""

    bet_id: Id
    user_id: Id
    stake: Amount
    card: Card


class SendWelcome(ConvexMessage):
    """Command for the queue `user.notifications`."""

    user_id: Id
    email: Email


class TakePayment(ConvexMessage):
    """Command for the queue `payments`."""

    bet_id: Id
    amount: Amount
    card: Card
