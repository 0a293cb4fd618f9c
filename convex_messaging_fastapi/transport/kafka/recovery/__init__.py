"""Recovery: why an engine is silent or complains, what is said of it, and when another takes its place."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.recovery.complaints import Complaints
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import (
    RIVAL,
    Explanation,
    explain_commit,
    explain_connection,
    explain_membership,
    explain_no_coordinator,
    explain_publish,
    explain_unreadable,
    outcome_of,
    unreadable_batch,
    verdict_on,
)
from convex_messaging_fastapi.transport.kafka.recovery.engines import Ended, Engine, EngineKind
from convex_messaging_fastapi.transport.kafka.recovery.outage import MissingTopics, Outage
from convex_messaging_fastapi.transport.kafka.recovery.probe import Reached, reach
from convex_messaging_fastapi.transport.kafka.recovery.supervisor import Supervisor

__all__ = [
    "RIVAL",
    "Complaints",
    "Ended",
    "Engine",
    "EngineKind",
    "Explanation",
    "MissingTopics",
    "Outage",
    "Reached",
    "Supervisor",
    "explain_commit",
    "explain_connection",
    "explain_membership",
    "explain_no_coordinator",
    "explain_publish",
    "explain_unreadable",
    "outcome_of",
    "reach",
    "unreadable_batch",
    "verdict_on",
]
