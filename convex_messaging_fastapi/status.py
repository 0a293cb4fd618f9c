"""Frozen snapshots of the running bus and the verdicts drawn from them.

Health, metrics, console and command line only draw these; nothing else looks into the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from convex_messaging_fastapi.policies import Ordering


class Phase(Enum):
    """Where a bus is in its life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition that a worker holds. Offsets are next offsets.

    `held` is why the partition waits (`dlq_unavailable`, `dead_letter_held`), or `None`.
    """

    topic: str
    partition: int
    committed: int
    position: int
    unfinished: int
    oldest_unfinished: int | None
    oldest_age_seconds: float
    held: str | None


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """One subscription's counts since the bus started, and what it is doing now."""

    id: str
    topics: tuple[str, ...]
    group: str
    ordering: Ordering
    concurrency: int
    running: int
    waiting: int
    backing_off: int
    handled: int
    failed_attempts: int
    buried: int
    discarded: int


@dataclass(frozen=True, slots=True)
class ContactStatus:
    """How well a producer or a worker is in touch with the cluster.

    `age_seconds` is the age of the last good answer, `None` before the first. `problem` is a word
    of the closed list `transport.base.Problem`; `detail` may name hosts.
    """

    age_seconds: float | None
    member: bool
    problem: str | None
    detail: str
    rebuilds: int


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One consumer of one group, with everything it holds.

    `alive` is false once a task that must run has ended by itself; it is true before the start and
    while the consumer is being rebuilt. `rebalancing` is true from the loss of an assignment to the
    next one, a rebuild included, and `rebalancing_seconds` is how long that has lasted.
    """

    group: str
    topics: tuple[str, ...]
    alive: bool
    rebalancing: bool
    contact: ContactStatus
    partitions: tuple[PartitionStatus, ...]
    subscriptions: tuple[SubscriptionStatus, ...]
    buffered_records: int
    buffered_bytes: int
    revision: int
    """How many assignments this worker has had."""
    rebalancing_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProducerStatus:
    """The way to the log. `alive` is false once a task that must run has ended by itself."""

    alive: bool
    contact: ContactStatus
    pending: int
    published: int
    failed: int
    unknown: int


@dataclass(frozen=True, slots=True)
class BusStatus:
    """Everything that runs, at one moment."""

    phase: Phase
    producer: ProducerStatus | None
    workers: tuple[WorkerStatus, ...]
    problems: tuple[str, ...]
    """Words of a closed list that concern the whole bus, such as `dlq_unavailable`."""
