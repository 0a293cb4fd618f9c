"""Kafka, over aiokafka: the only rooms that know the engine. None is loaded before a transport is made."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from convex_messaging_fastapi.clock import Clock, SystemClock
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.base import Transport
from convex_messaging_fastapi.transport.kafka.selfcheck import check_engine

if TYPE_CHECKING:
    from convex_messaging_fastapi.transport.kafka.admin import Inspector

__all__ = ["inspecting", "kafka_transport"]


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
    check_engine()
    from convex_messaging_fastapi.transport.kafka.transport import KafkaTransport

    return KafkaTransport(settings, SystemClock()).inspecting()
