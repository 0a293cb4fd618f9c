"""The only rooms that touch private attributes of aiokafka, the engine.

Its public API lacks what a supervisor needs: whether its tasks live, when a broker last answered, a single
attempt at a commit, a stop that ends although every broker is dead.
"""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.engine.batches import (
    Batch,
    Pack,
    Span,
    UnpacksTooLarge,
    pack,
    size_in_batch,
    span_of,
)
from convex_messaging_fastapi.transport.kafka.engine.codes import (
    FencedInstanceId,
    FencedProducer,
    GroupMaxSizeReached,
    InvalidRecord,
    for_code,
)
from convex_messaging_fastapi.transport.kafka.engine.connections import (
    Access,
    CandidConnection,
    Client,
    Distrusted,
    IdentifyingRequest,
    Renewable,
    TopicAnswer,
    TopicId,
    exposure,
    tls_context,
)
from convex_messaging_fastapi.transport.kafka.engine.groups import (
    Ghosts,
    Identity,
    Member,
    NotStored,
    described,
    listed,
    stored_by,
)
from convex_messaging_fastapi.transport.kafka.engine.log_filter import held_back
from convex_messaging_fastapi.transport.kafka.engine.ours import ours, theirs
from convex_messaging_fastapi.transport.kafka.engine.partition_reader import PartitionReader
from convex_messaging_fastapi.transport.kafka.engine.patches import patch_engine
from convex_messaging_fastapi.transport.kafka.engine.transactions import Transactions, may_pass
from convex_messaging_fastapi.transport.kafka.engine.writer import Writer

__all__ = [
    "Access",
    "Batch",
    "CandidConnection",
    "Client",
    "Distrusted",
    "FencedInstanceId",
    "FencedProducer",
    "Ghosts",
    "GroupMaxSizeReached",
    "IdentifyingRequest",
    "Identity",
    "InvalidRecord",
    "Member",
    "NotStored",
    "Pack",
    "PartitionReader",
    "Renewable",
    "Span",
    "TopicAnswer",
    "TopicId",
    "Transactions",
    "UnpacksTooLarge",
    "Writer",
    "described",
    "exposure",
    "for_code",
    "held_back",
    "listed",
    "may_pass",
    "ours",
    "pack",
    "patch_engine",
    "size_in_batch",
    "span_of",
    "stored_by",
    "theirs",
    "tls_context",
]
