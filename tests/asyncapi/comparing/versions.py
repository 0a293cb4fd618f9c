"""Two versions of one message, as what is received and as what is sent."""

from __future__ import annotations

from typing import Any

from pydantic import create_model

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingSettings
from convex_messaging_fastapi.asyncapi import Change, changes, document

MEMORY = MessagingSettings(bootstrap_servers="memory://", consumer_group="shop")

RECEIVED, SENT = "received", "sent"


def order(**fields: Any) -> Any:
    """The class `Order` with these fields: `name=(type, default)`."""
    return create_model("Order", __base__=ConvexMessage, **fields)


def described(direction: str, message: Any, topic: str = "orders") -> Any:
    """The document of a service that receives it, or sends it."""
    bus = MessageBus(MEMORY)
    if direction == SENT:
        bus.publishes(topic, message)
        return document(bus)

    async def handle(message): ...  # type: ignore[no-untyped-def]

    handle.__annotations__["message"] = message
    bus.subscriber(topic, id="handle")(handle)
    return document(bus)


def between(direction: str, before: Any, after: Any) -> list[Change]:
    """What has changed when a service was given the other class."""
    return changes(described(direction, before), described(direction, after))
