"""Kafka, over aiokafka: the only rooms that know the engine. None is loaded before a transport is made."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from ssl import SSLContext
from typing import TYPE_CHECKING

from convex_messaging_fastapi.clock import Clock, SystemClock
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.base import Transport
from convex_messaging_fastapi.transport.kafka.selfcheck import check_engine

if TYPE_CHECKING:
    from convex_messaging_fastapi.transport.kafka.admin import Inspector, Knock
    from convex_messaging_fastapi.transport.kafka.log_reader import OpenLog
    from convex_messaging_fastapi.transport.kafka.transport import KafkaTransport

__all__ = ["check_engine", "inspecting", "kafka_transport", "knocking", "opened", "tls_context"]


def kafka_transport(settings: MessagingSettings, clock: Clock, observers: Observers) -> Transport:
    """Load the engine and make a transport on it; does no I/O.

    Raises `ConfigurationError` where the installed aiokafka lacks what is relied on.
    """
    # First: a name that another version has moved would end the import below without a sentence.
    check_engine()
    from convex_messaging_fastapi.transport.kafka.transport import KafkaTransport

    return KafkaTransport(settings, clock, observers=observers)


def inspecting(settings: MessagingSettings) -> AbstractAsyncContextManager[Inspector]:
    """A look at the cluster as such, for whoever operates it; raises `TransportError` where there is none."""
    return _transport(settings).inspecting()


def opened(settings: MessagingSettings, topic: str) -> AbstractAsyncContextManager[OpenLog]:
    """The log of a topic, by its name on the wire; raises `TransportError` where there is no way to it."""
    return _transport(settings).log_reader().open(topic)


async def knocking(settings: MessagingSettings, server: str, seconds: float) -> Knock:
    """What becomes of one connection to an address with these settings; nothing that a broker does raises."""
    return await _transport(settings).knock(server, seconds)


def tls_context(settings: MessagingSettings) -> SSLContext:
    """What its connections trust and show. Raises `OSError` that names a file which cannot be read."""
    from convex_messaging_fastapi.transport.kafka.engine import tls_context

    return tls_context(settings)


def _transport(settings: MessagingSettings) -> KafkaTransport:
    check_engine()
    from convex_messaging_fastapi.transport.kafka.transport import KafkaTransport

    return KafkaTransport(settings, SystemClock())
