"""Kafka as a normal FastAPI router.

Publish, subscribe, queues, retries and dead letters, on a committed offset that never passes unfinished
work. Declare a bus, include its router, and write handlers like routes:

    bus = MessageBus()
    messaging_router = MessagingRouter(bus)

    @bus.subscriber("user.created")
    async def send_welcome(event: UserCreated) -> None: ...

    app = FastAPI()
    app.include_router(messaging_router)
"""

from __future__ import annotations

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.errors import (
    AttemptTimedOut,
    BatchFailed,
    BusNotFound,
    BusNotStarted,
    BusStateError,
    BusStopped,
    ConfigurationError,
    DeclarationError,
    DecodeError,
    Discard,
    EncodeError,
    MessageError,
    MessageTooLarge,
    MessagingError,
    PublishError,
    PublishFailed,
    PublishManyError,
    PublishUnknown,
    Reject,
    RetryAfter,
    TopicUnavailable,
    TransportError,
)
from convex_messaging_fastapi.messages import ConvexMessage, DeadLetterMessage
from convex_messaging_fastapi.plugin import Bus, MessagingRouter, get_bus, health_routes
from convex_messaging_fastapi.policies import Batch, Retry
from convex_messaging_fastapi.records import Delivery, Receipt
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.status import BusStatus
from convex_messaging_fastapi.subscribers import Subscribers
from convex_messaging_fastapi.testing import TestBench

__all__ = [
    "AttemptTimedOut",
    "Batch",
    "BatchFailed",
    "Bus",
    "BusNotFound",
    "BusNotStarted",
    "BusStateError",
    "BusStatus",
    "BusStopped",
    "ConfigurationError",
    "ConvexMessage",
    "DeadLetterMessage",
    "DeclarationError",
    "DecodeError",
    "Delivery",
    "Discard",
    "EncodeError",
    "MessageBus",
    "MessageError",
    "MessageTooLarge",
    "MessagingError",
    "MessagingRouter",
    "MessagingSettings",
    "PublishError",
    "PublishFailed",
    "PublishManyError",
    "PublishUnknown",
    "Receipt",
    "Reject",
    "Retry",
    "RetryAfter",
    "Subscribers",
    "TestBench",
    "TopicUnavailable",
    "TransportError",
    "get_bus",
    "health_routes",
]
