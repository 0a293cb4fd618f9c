"""What a bus needs before any handler runs: settings, names on the wire, a transport, and publishing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from convex_messaging_fastapi import misuse
from convex_messaging_fastapi.clock import Clock, SystemClock
from convex_messaging_fastapi.consuming.dead_letters import topic_for_dead_letters
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.middleware import Middleware
from convex_messaging_fastapi.naming import Naming
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.publishing import (
    CreatingProducer,
    Destination,
    Partitioner,
    Publisher,
    Publishing,
    PublishLimits,
    Verbs,
)
from convex_messaging_fastapi.settings import MessagingSettings, load
from convex_messaging_fastapi.transport.base import AdminTransport, NewTopic, ProducerTransport, Transport
from convex_messaging_fastapi.transport.kafka import kafka_transport
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport, shared_broker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parts:
    """Enough to publish and to look at the cluster, for callers that start no workers.

    `new_topic` says how to create a topic of this name. Making the parts takes no I/O and no event
    loop. They can be used once, as `publishing` can.
    """

    settings: MessagingSettings
    clock: Clock
    naming: Naming
    transport: Transport
    admin: AdminTransport
    new_topic: Callable[[str], NewTopic]
    limits: PublishLimits
    publishing: Publishing
    middleware: Sequence[Middleware] = ()
    observers: Observers = ONLY_THE_LOG


def parts_for(
    settings: MessagingSettings,
    transport: Transport,
    clock: Clock,
    middleware: Sequence[Middleware] = (),
    observers: Observers = ONLY_THE_LOG,
) -> Parts:
    """The parts of one bus over this transport."""
    naming = Naming(settings)
    limits = limits_of(settings)
    admin = transport.admin()
    new_topic = partial(_new_topic, settings, naming, limits)
    producer: ProducerTransport = transport.producer()
    if settings.create_topics:
        producer = CreatingProducer(producer, admin, new_topic)
    publisher = Publisher(producer, clock, Partitioner(settings.partitioner), limits)
    publishing = Publishing(publisher, naming, clock, settings.publish_timeout_seconds, middleware, observers)
    return Parts(
        settings, clock, naming, transport, admin, new_topic, limits, publishing, middleware, observers
    )


def limits_of(settings: MessagingSettings) -> PublishLimits:
    return PublishLimits(settings.max_message_bytes, settings.max_pending_bytes)


def _new_topic(settings: MessagingSettings, naming: Naming, limits: PublishLimits, name: str) -> NewTopic:
    topic = NewTopic(
        name,
        settings.topic_partitions,
        settings.replication_factor,
        {"retention.ms": str(settings.message_retention_ms)},
    )
    return topic_for_dead_letters(topic, limits.dead_letter_bytes) if name == naming.dead_letters else topic


MakesDestination = Callable[[PublishLimits], Destination]


def verbs_to(
    destination: MakesDestination,
    running: Parts | None,
    settings: MessagingSettings | None,
    middleware: Sequence[Middleware],
) -> Verbs:
    """The verbs of publishing, which write to `destination` by the names and limits of a bus.

    These are those of what is `running`; before the start those of the settings that it would read.
    """
    if running is not None:
        settings, naming, clock = running.settings, running.naming, running.clock
    else:
        settings = settings or load()
        naming, clock = Naming(settings), SystemClock()
    made = destination(limits_of(settings))
    return Verbs(made, naming, clock, settings.publish_timeout_seconds, middleware)


def transport_for(
    settings: MessagingSettings, clock: Clock, observers: Observers = ONLY_THE_LOG
) -> Transport:
    """Kafka, or this process's memory, as `bootstrap_servers` says.

    Raises `ConfigurationError` where the installed aiokafka is not one that Kafka can be used with.
    """
    if settings.is_memory:
        broker = shared_broker(settings.memory_name, clock) if settings.memory_name else MemoryBroker(clock)
        return MemoryTransport(
            broker,
            auto_offset_reset=settings.auto_offset_reset,
            revoke_drain_seconds=settings.revoke_drain_seconds,
        )
    return kafka_transport(settings, clock, observers)


def all_of(kind: type[T], given: Iterable[T], keyword: str) -> tuple[T, ...]:
    """The objects of `kind` that were given. Raises `ConfigurationError` for anything else."""
    if not isinstance(given, Iterable):
        raise ConfigurationError(misuse.not_one_of(kind.__name__, keyword, given))
    found = tuple(given)
    for each in found:
        if not isinstance(each, kind):
            raise ConfigurationError(misuse.not_one_of(kind.__name__, keyword, each))
    return found
