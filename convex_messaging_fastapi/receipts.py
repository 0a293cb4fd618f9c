"""Where an acknowledged message landed."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Receipt(NamedTuple):
    """Where an acknowledged message landed."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
