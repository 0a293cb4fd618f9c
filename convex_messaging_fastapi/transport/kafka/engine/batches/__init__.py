"""Batches of records: packing those to be sent, and unpacking fetched ones within bounds."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.engine.batches.header_names import is_of_a_name, readable
from convex_messaging_fastapi.transport.kafka.engine.batches.markers import is_abort_marker
from convex_messaging_fastapi.transport.kafka.engine.batches.packing import (
    Accumulator,
    Batch,
    Pack,
    Producer,
    pack,
    size_in_batch,
)
from convex_messaging_fastapi.transport.kafka.engine.batches.unpacking import (
    Span,
    UnpacksTooLarge,
    bound_unpacking,
    span_of,
    unbounded,
    unpacking_at_most,
)

__all__ = [
    "Accumulator",
    "Batch",
    "Pack",
    "Producer",
    "Span",
    "UnpacksTooLarge",
    "bound_unpacking",
    "is_abort_marker",
    "is_of_a_name",
    "pack",
    "readable",
    "size_in_batch",
    "span_of",
    "unbounded",
    "unpacking_at_most",
]
