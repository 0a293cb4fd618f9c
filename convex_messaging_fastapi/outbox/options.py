"""What an outbox may be told about its relay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from convex_messaging_fastapi.errors import ConfigurationError

LEAST_LEASE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """As the keywords of `Outbox` say. Raises `ConfigurationError` for what makes no sense."""

    relay: bool = True
    lease_seconds: float = 15.0
    poll_seconds: float = 1.0
    batch: int = 1_000
    keep: timedelta | None = None
    max_age_seconds: float = 60.0
    listen_dsn: str | None = None

    def __post_init__(self) -> None:
        if not self.lease_seconds >= LEAST_LEASE_SECONDS:
            raise ConfigurationError(
                f"a relay holds its lanes for at least {LEAST_LEASE_SECONDS:g} s, not for "
                f"lease_seconds={self.lease_seconds!r}"
            )
        if not self.poll_seconds > 0:
            raise ConfigurationError(f"poll_seconds is more than 0, not {self.poll_seconds!r}")
        if not self.max_age_seconds > 0:
            raise ConfigurationError(f"max_age_seconds is more than 0, not {self.max_age_seconds!r}")
        if self.batch < 1:
            raise ConfigurationError(f"a relay takes at least 1 row at once, not batch={self.batch!r}")
        if self.keep is not None and self.keep <= timedelta(0):
            raise ConfigurationError(f"keep is more than no time at all, or None, not {self.keep!r}")
