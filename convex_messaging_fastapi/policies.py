"""What a subscriber chooses, as frozen values; contradictions are refused when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from convex_messaging_fastapi.errors import ConfigurationError

Ordering = Literal["key", "partition", "none"]
"""`key`: one key, one after another. `partition`: one partition, one after another. `none`: no order."""

DeadLetterPolicy = Literal["bury", "hold", "discard"]
"""When attempts are spent. `bury`: into the dead-letter topic. `hold`: keep it unfinished, its
partition waits, readiness says so. `discard`: count it and go on."""

MAX_DELAY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how fast a failed message is tried again, in place.

    `attempts` is the number of tries in all (1 = never again, `None` = for ever). The wait before
    try `n + 1` is `delay_seconds * multiplier ** (n - 1)`, at most `max_delay_seconds`, less a
    random share of up to `jitter` of itself. An exception is tried again if it is one of `only`
    and none of `never`.
    """

    attempts: int | None = 3
    delay_seconds: float = 5.0
    multiplier: float = 2.0
    max_delay_seconds: float = MAX_DELAY_SECONDS
    jitter: float = 0.2
    only: tuple[type[Exception], ...] = (Exception,)
    never: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        _require(self.attempts is None or self.attempts >= 1, "Retry.attempts is 1 or more, or None for ever")
        _require(self.delay_seconds >= 0, "Retry.delay_seconds is 0 or more")
        _require(self.multiplier >= 1, "Retry.multiplier is 1 or more: back-off never shrinks")
        _require(
            self.max_delay_seconds >= self.delay_seconds,
            "Retry.max_delay_seconds is at least delay_seconds",
        )
        _require(0 <= self.jitter <= 1, "Retry.jitter is a share from 0 to 1")


@dataclass(frozen=True, slots=True)
class Batch:
    """Hand a handler up to `max_records` records of one partition at once.

    A batch that is not full is handed over `max_wait_seconds` after its first record arrived.
    """

    max_records: int = 100
    max_wait_seconds: float = 1.0

    def __post_init__(self) -> None:
        _require(self.max_records >= 1, "Batch.max_records is 1 or more")
        _require(self.max_wait_seconds >= 0, "Batch.max_wait_seconds is 0 or more")


@dataclass(frozen=True, slots=True)
class SubscriberOptions:
    """Everything a subscriber may choose; `None` means the bus's settings decide.

    `timeout` is seconds for one attempt. A synchronous handler cannot be interrupted: its key
    waits for it to end, and only then does the attempt count as failed.
    """

    group: str | None = None
    id: str | None = None
    concurrency: int | None = None
    ordering: Ordering = "key"
    retry: Retry | None = None
    dead_letter: DeadLetterPolicy = "bury"
    timeout: float | None = None
    batch: Batch | None = field(default=None)

    def __post_init__(self) -> None:
        _require(self.group != "", "a group has a name; without one the settings decide")
        _require(self.id != "", "an id is not empty; without one it is the handler's name")
        _require(
            self.retry is None or isinstance(self.retry, Retry), "retry is a Retry, such as Retry(attempts=5)"
        )
        _require(
            self.batch is None or isinstance(self.batch, Batch),
            "batch is a Batch, such as Batch(max_records=100)",
        )
        _require(
            self.concurrency is None or (isinstance(self.concurrency, int) and self.concurrency >= 1),
            "concurrency is a whole number, 1 or more",
        )
        _require(self.timeout is None or self.timeout > 0, "timeout is more than 0 seconds")
        _require(self.ordering in ("key", "partition", "none"), "ordering is 'key', 'partition' or 'none'")
        _require(
            self.dead_letter in ("bury", "hold", "discard"), "dead_letter is 'bury', 'hold' or 'discard'"
        )
        _require(
            self.batch is None or self.ordering != "none",
            "a batch keeps the order of its partition: leave ordering='none' away",
        )


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ConfigurationError(sentence)
