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

from importlib import import_module
from sys import modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convex_messaging_fastapi.bus import MessageBus
    from convex_messaging_fastapi.errors import (
        AlreadyHandled,
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
        LetterNotFound,
        LettersUnavailable,
        MessageError,
        MessageTooLarge,
        MessagingError,
        NoSuchHandler,
        PublishError,
        PublishFailed,
        PublishManyError,
        PublishUnknown,
        RefusalReason,
        Reject,
        ReplayFenced,
        ReplayRefused,
        RetryAfter,
        TopicUnavailable,
        TransportError,
    )
    from convex_messaging_fastapi.events import (
        AttemptEnded,
        AttemptOutcome,
        BreakerClosed,
        BreakerOpened,
        Buried,
        Committed,
        ContactLost,
        ContactRegained,
        Observer,
        Polled,
        PublishEnded,
        PublishVerb,
        Rebalanced,
        Retried,
    )
    from convex_messaging_fastapi.failures import Failure
    from convex_messaging_fastapi.filters import of_type
    from convex_messaging_fastapi.logs import CorrelationFilter
    from convex_messaging_fastapi.measuring import Measuring, Speed
    from convex_messaging_fastapi.messages import ConvexMessage, DeadLetterMessage
    from convex_messaging_fastapi.messages.dead_letter import OriginalHeader
    from convex_messaging_fastapi.messages.pauses import Pause
    from convex_messaging_fastapi.middleware import CallNext, Middleware, Outgoing, PublishNext, Receipts
    from convex_messaging_fastapi.observability.opentelemetry import OpenTelemetry
    from convex_messaging_fastapi.observability.prometheus import Prometheus
    from convex_messaging_fastapi.plugin import (
        Bus,
        CorrelationMiddleware,
        MessagingRouter,
        get_bus,
        health_routes,
    )
    from convex_messaging_fastapi.plugin.health import Details
    from convex_messaging_fastapi.policies import (
        Batch,
        Breaker,
        DeadLetterPolicy,
        Ordering,
        Retry,
        SubscriberOptions,
    )
    from convex_messaging_fastapi.publishing.outgoing import Key, UserHeaders
    from convex_messaging_fastapi.receipts import Receipt
    from convex_messaging_fastapi.records import Delivery, Lease, Record, TopicPartition
    from convex_messaging_fastapi.settings import MessagingSettings
    from convex_messaging_fastapi.status import (
        BreakerStatus,
        BusStatus,
        CommitStatus,
        ContactStatus,
        LossStatus,
        OutboxStatus,
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
    "AlreadyHandled",
    "AttemptEnded",
    "AttemptOutcome",
    "AttemptTimedOut",
    "Batch",
    "BatchFailed",
    "Breaker",
    "BreakerClosed",
    "BreakerOpened",
    "BreakerStatus",
    "Buried",
    "Bus",
    "BusNotFound",
    "BusNotStarted",
    "BusStateError",
    "BusStatus",
    "BusStopped",
    "CallNext",
    "CommitStatus",
    "Committed",
    "ConfigurationError",
    "ContactLost",
    "ContactRegained",
    "ContactStatus",
    "ConvexMessage",
    "CorrelationFilter",
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
    "Failure",
    "Handler",
    "HandlerCancelled",
    "HandlerExited",
    "HandlerSignal",
    "Key",
    "Lease",
    "LetterNotFound",
    "LettersUnavailable",
    "LossStatus",
    "Measuring",
    "MessageBus",
    "MessageError",
    "MessageTooLarge",
    "MessagingError",
    "MessagingRouter",
    "MessagingSettings",
    "Middleware",
    "NoSuchHandler",
    "Observer",
    "OpenTelemetry",
    "Ordering",
    "OriginalHeader",
    "OutboxStatus",
    "Outgoing",
    "PartitionStatus",
    "Pause",
    "Phase",
    "Polled",
    "ProducerStatus",
    "Prometheus",
    "PublishEnded",
    "PublishError",
    "PublishFailed",
    "PublishManyError",
    "PublishNext",
    "PublishUnknown",
    "PublishVerb",
    "Readiness",
    "Rebalanced",
    "Receipt",
    "Receipts",
    "Record",
    "RefusalReason",
    "Reject",
    "ReplayFenced",
    "ReplayRefused",
    "Retried",
    "Retry",
    "RetryAfter",
    "Speed",
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

_ROOMS = {
    "bus": ("MessageBus",),
    "errors": (
        "AlreadyHandled",
        "AttemptTimedOut",
        "BatchFailed",
        "BusNotFound",
        "BusNotStarted",
        "BusStateError",
        "BusStopped",
        "ConfigurationError",
        "DeclarationError",
        "DecodeError",
        "Discard",
        "EncodeError",
        "HandlerCancelled",
        "HandlerExited",
        "HandlerSignal",
        "LetterNotFound",
        "LettersUnavailable",
        "MessageError",
        "MessageTooLarge",
        "MessagingError",
        "NoSuchHandler",
        "PublishError",
        "PublishFailed",
        "PublishManyError",
        "PublishUnknown",
        "RefusalReason",
        "Reject",
        "ReplayFenced",
        "ReplayRefused",
        "RetryAfter",
        "TopicUnavailable",
        "TransportError",
    ),
    "events": (
        "AttemptEnded",
        "AttemptOutcome",
        "BreakerClosed",
        "BreakerOpened",
        "Buried",
        "Committed",
        "ContactLost",
        "ContactRegained",
        "Observer",
        "Polled",
        "PublishEnded",
        "PublishVerb",
        "Rebalanced",
        "Retried",
    ),
    "failures": ("Failure",),
    "filters": ("of_type",),
    "logs": ("CorrelationFilter",),
    "measuring": ("Measuring", "Speed"),
    "messages": ("ConvexMessage", "DeadLetterMessage"),
    "messages.dead_letter": ("OriginalHeader",),
    "messages.pauses": ("Pause",),
    "middleware": ("CallNext", "Middleware", "Outgoing", "PublishNext", "Receipts"),
    "observability.opentelemetry": ("OpenTelemetry",),
    "observability.prometheus": ("Prometheus",),
    "plugin": ("Bus", "CorrelationMiddleware", "MessagingRouter", "get_bus", "health_routes"),
    "plugin.health": ("Details",),
    "policies": ("Batch", "Breaker", "DeadLetterPolicy", "Ordering", "Retry", "SubscriberOptions"),
    "publishing.outgoing": ("Key", "UserHeaders"),
    "receipts": ("Receipt",),
    "records": ("Delivery", "Lease", "Record", "TopicPartition"),
    "settings": ("MessagingSettings",),
    "status": (
        "BreakerStatus",
        "BusStatus",
        "CommitStatus",
        "ContactStatus",
        "LossStatus",
        "OutboxStatus",
        "PartitionStatus",
        "Phase",
        "ProducerStatus",
        "SubscriptionStatus",
        "ThreadsStatus",
        "WorkerStatus",
    ),
    "subscribers": ("Declaration", "Handler", "Subscribers"),
    "testing": ("TestBench",),
    "verdicts": ("Readiness",),
}
"""Where each of these names lives. A room is loaded when one of its names is first asked for, so that
a command line that prints its help does not wait for FastAPI and pydantic."""

_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

if not TYPE_CHECKING:  # to a type checker this would be an attribute of any name

    def __getattr__(name: str) -> object:
        if (room := _ROOM_OF.get(name)) is None:
            here = modules[__name__]
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=here)
        value = globals()[name] = getattr(import_module(f"{__name__}.{room}"), name)
        return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
