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
    HandlerCancelled,
    HandlerExited,
    HandlerSignal,
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
from convex_messaging_fastapi.filters import of_type
from convex_messaging_fastapi.messages import ConvexMessage, DeadLetterMessage
from convex_messaging_fastapi.messages.dead_letter import OriginalHeader
from convex_messaging_fastapi.plugin import (
    Bus,
    CorrelationMiddleware,
    MessagingRouter,
    get_bus,
    health_routes,
)
from convex_messaging_fastapi.plugin.health import Details
from convex_messaging_fastapi.policies import Batch, DeadLetterPolicy, Ordering, Retry, SubscriberOptions
from convex_messaging_fastapi.publishing.outgoing import Key, UserHeaders
from convex_messaging_fastapi.records import Delivery, Lease, Receipt, Record, TopicPartition
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.status import (
    BusStatus,
    CommitStatus,
    ContactStatus,
    LossStatus,
    PartitionStatus,
    Phase,
    ProducerStatus,
    SubscriptionStatus,
    ThreadsStatus,
    WorkerStatus,
)
from convex_messaging_fastapi.subscribers import Declaration, Handler, Subscribers
from convex_messaging_fastapi.testing import TestBench
from convex_messaging_fastapi.verdicts import Readiness

__version__ = "0.1.0"

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
    "CommitStatus",
    "ConfigurationError",
    "ContactStatus",
    "ConvexMessage",
    "CorrelationMiddleware",
    "DeadLetterMessage",
    "DeadLetterPolicy",
    "Declaration",
    "DeclarationError",
    "DecodeError",
    "Delivery",
    "Details",
    "Discard",
    "EncodeError",
    "Handler",
    "HandlerCancelled",
    "HandlerExited",
    "HandlerSignal",
    "Key",
    "Lease",
    "LossStatus",
    "MessageBus",
    "MessageError",
    "MessageTooLarge",
    "MessagingError",
    "MessagingRouter",
    "MessagingSettings",
    "Ordering",
    "OriginalHeader",
    "PartitionStatus",
    "Phase",
    "ProducerStatus",
    "PublishError",
    "PublishFailed",
    "PublishManyError",
    "PublishUnknown",
    "Readiness",
    "Receipt",
    "Record",
    "Reject",
    "Retry",
    "RetryAfter",
    "SubscriberOptions",
    "Subscribers",
    "SubscriptionStatus",
    "TestBench",
    "ThreadsStatus",
    "TopicPartition",
    "TopicUnavailable",
    "TransportError",
    "UserHeaders",
    "WorkerStatus",
    "get_bus",
    "health_routes",
    "of_type",
]
