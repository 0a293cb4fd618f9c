"""Transaction markers in a log, and what the log cleaner leaves of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.record.control_record import ABORT_MARKER, ControlRecord


def is_abort_marker(batch: Iterator[Any]) -> bool:
    """Whether a control batch marks an aborted transaction.

    The log cleaner removes a marker once nothing of its transaction is left, and keeps the empty batch, which
    the engine's own function takes for damage.
    """
    marker = next(batch, None)
    # Without a check of its version: a later one may add fields, but not change the meaning.
    return marker is not None and ControlRecord.parse(marker.key).type_ == ABORT_MARKER.type_
