"""What a member asks of its group, from the settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """`reset_policy` says where to begin without a commit: `earliest` or `latest`.

    A rebalance waits `drain_seconds` for what is being handled; after `session_seconds` without a heartbeat
    the group takes a member for gone. `topics_are_made`: the bus creates topics that are missing.
    """

    group: str
    reset_policy: str
    drain_seconds: float
    session_seconds: float
    topics_are_made: bool
