"""Where an acknowledged message landed."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Receipt(NamedTuple):
    """Where an acknowledged message landed.

    `topic` is its name on the wire; `offset` is -1 if the cluster did not name one; `timestamp` is UTC, the
    log's own time where the topic is set so, else the time of sending.
    """

    topic: str
    partition: int
    offset: int
    timestamp: datetime
