"""The markers that end transactions in a log, and what its cleaner leaves of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.record.control_record import ABORT_MARKER, ControlRecord


def is_abort_marker(batch: Iterator[Any]) -> bool:
    """Whether a control batch says that a transaction was aborted.

    The cleaner of a compacted topic takes the marker out of its batch once nothing of its
    transaction is left, and keeps the empty batch. To the engine's own reading that is damage.
    """
    marker = next(batch, None)
    # Whatever version it is told in: a later one may add to it, not change what it means.
    return marker is not None and ControlRecord.parse(marker.key).type_ == ABORT_MARKER.type_
