"""Connections: how a broker is reached and convinced, what it is asked, and an end for certain."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.engine.connections.client import Client, TopicAnswer
from convex_messaging_fastapi.transport.kafka.engine.connections.connecting import (
    CandidConnection,
    Distrusted,
    Renewable,
    exposure,
    make_candid_connections,
)
from convex_messaging_fastapi.transport.kafka.engine.connections.ending import end, failure_of
from convex_messaging_fastapi.transport.kafka.engine.connections.security import Access, tls_context
from convex_messaging_fastapi.transport.kafka.engine.connections.topic_ids import IdentifyingRequest, TopicId

__all__ = [
    "Access",
    "CandidConnection",
    "Client",
    "Distrusted",
    "IdentifyingRequest",
    "Renewable",
    "TopicAnswer",
    "TopicId",
    "end",
    "exposure",
    "failure_of",
    "make_candid_connections",
    "tls_context",
]
