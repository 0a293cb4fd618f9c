"""How patient this transport is: figures that no user needs, in one place for its tests to turn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    # How a silent engine is noticed. A healthy one is never silent for much longer than
    # `ask_after_seconds`, so probes may call it out of contact well before 15 seconds.
    look_every_seconds: float = 1.0
    ask_after_seconds: float = 4.0
    explain_after_seconds: float = 6.0
    replace_after_seconds: float = 15.0
    """Silence after a probe got through: the engine is looking for brokers where none are."""

    # How fast an engine is started again. A refusal (credentials, certificates) is not repeated
    # fast, for that locks accounts; anything else soon, for a cluster that is back must be noticed.
    retry_seconds: float = 0.25
    retry_cap_seconds: float = 4.0
    refused_retry_seconds: float = 2.0
    refused_cap_seconds: float = 15.0
    lived_long_seconds: float = 30.0
    start_seconds: float = 30.0
    probe_seconds: float = 8.0
    stop_seconds: float = 5.0

    # The engine's own.
    retry_backoff_ms: int = 100
    metadata_max_age_ms: int = 30_000
    fetch_max_wait_ms: int = 500
    check_crcs: bool = True

    # Producing.
    batch_bytes: int = 512 * 1024

    # Consuming.
    partition_pause_seconds: float = 5.0
    """How long a partition rests after the engine could not read it."""
    unreadable_tries: int = 3
    unreadable_seconds: float = 60.0
    """A batch that failed so often, over at least so long, is given up where the settings say `bury`."""
    unpacked_bytes: int = 64 * 1024 * 1024
    """What one batch may unpack to; `max_buffer_bytes` where that is more."""
    confirm_seconds: float = 3.0
    """How long a leader that says the log was cut is not believed: one that was frozen, and deposed
    meanwhile, knows less than its successor until it learns of that."""
    stuck_after_seconds: float = 60.0
    """How long a partition may stand still although its log goes on and brokers answer."""
    rival_seconds: float = 30.0
    """Three times put out of its place within so long, a static member has a rival of the same name."""
    coordinator_seconds: float = 15.0
    """How long a group may be without a coordinator before that is told."""
    optional_seconds: float = 5.0
    """How often a topic is looked for that may be missing."""
    missing_seconds: float = 2.0
    """How long a topic may be missing before that is told."""
    complaint_seconds: float = 10.0
    """How long a complaint of the engine about its group is shown."""
