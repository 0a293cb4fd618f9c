"""Times and limits of this transport that no user needs to set; tests shorten them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    # How a silent engine is noticed. A healthy one is never silent for much longer than
    # `ask_after_seconds`, so probes may report lost contact well before 15 seconds.
    look_every_seconds: float = 1.0
    ask_after_seconds: float = 4.0
    explain_after_seconds: float = 6.0
    replace_after_seconds: float = 15.0
    """After so long a silence although our own connection is answered, the engine is replaced."""

    # How soon an engine is started again: later after a refusal (credentials, certificates), because fast
    # logins lock accounts; soon after anything else, to notice a cluster that is back.
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
    markers_seconds: float = 0.02
    """How soon a transaction is begun again while the ends of the one before are still being written."""

    # Consuming.
    partition_pause_seconds: float = 5.0
    """How long a partition is not read after the engine could not read it."""
    unreadable_tries: int = 3
    unreadable_seconds: float = 60.0
    """With `unreadable="bury"` a batch is given up after so many failures over at least so long."""
    unpacked_bytes: int = 64 * 1024 * 1024
    """What one batch may unpack to; `max_buffer_bytes` if that is more."""
    confirm_seconds: float = 3.0
    """How long a leader is not believed that says the log was cut: one that was frozen and replaced meanwhile
    has a shorter log than its successor, until it learns of it."""
    stuck_after_seconds: float = 60.0
    """How long a partition may stand still although its log goes on and brokers answer."""
    rival_seconds: float = 30.0
    """A static member that loses its membership three times within so long has a rival of the same id."""
    coordinator_seconds: float = 15.0
    """How long a group may be without a coordinator before that is reported."""
    missing_seconds: float = 2.0
    """How long a topic may be missing before that is reported."""
    complaint_seconds: float = 10.0
    """How long a complaint of the engine about its group is shown."""
