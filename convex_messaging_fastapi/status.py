"""Frozen snapshots of the running bus.

Health, metrics, console and command line only draw these; nothing else looks into the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from convex_messaging_fastapi.policies import Ordering


class Problem(Enum):
    """Why a transport is out of contact; the closed list that probes may show to the world."""

    CONNECTING = "connecting"
    BROKER_UNREACHABLE = "broker_unreachable"
    AUTHENTICATION_FAILED = "auth_failed"
    TLS_FAILED = "tls_failed"
    NOT_AUTHORIZED = "not_authorized"
    TOPIC_MISSING = "topic_missing"
    GROUP_REFUSED = "group_refused"
    NO_COORDINATOR = "no_coordinator"
    UNREADABLE = "unreadable"
    ENGINE_FAILED = "engine_failed"


REFUSALS = frozenset(
    {
        Problem.AUTHENTICATION_FAILED,
        Problem.TLS_FAILED,
        Problem.NOT_AUTHORIZED,
        Problem.GROUP_REFUSED,
    }
)
"""Problems that time does not heal, and that trying again fast makes worse."""


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
    `passed_over` counts records of this assignment that were not handed out, because its last commit
    says that an earlier owner had finished them. `end` is where the log ended when records of this
    partition were last fetched: it may have grown since. `None` until some were.
    """

    topic: str
    partition: int
    committed: int
    position: int
    unfinished: int
    oldest_unfinished: int | None
    oldest_age_seconds: float
    held: str | None
    passed_over: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """One subscription's counts since the bus started, and what it is doing now.

    `filtered` counts the records that its filter has passed over.
    """

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
    filtered: int = 0


@dataclass(frozen=True, slots=True)
class ContactStatus:
    """How well a producer or a worker is in touch with the cluster.

    `age_seconds` is the age of the last good answer, `None` before the first. `problem` is a word
    of the closed list `Problem`; `detail` may name hosts.
    """

    age_seconds: float | None
    member: bool
    problem: str | None
    detail: str
    rebuilds: int


@dataclass(frozen=True, slots=True)
class LossStatus:
    """Reading was to go on at `from_offset`, and went on at `to_offset`, because the log had it not.

    `records` counts the offsets known to be passed over; `reason` is a sentence.
    """

    topic: str
    partition: int
    from_offset: int
    to_offset: int
    records: int
    reason: str
    age_seconds: float


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """Commits of one partition that are not stored, for so long and so many times in a row.

    What was handled meanwhile is handled again by the partition's next owner. `reason` is the
    cluster's word on the last one.
    """

    topic: str
    partition: int
    seconds: float
    times: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One consumer of one group, with everything it holds.

    `alive` is false once a task that must run has ended by itself; it is true before the start and
    while the consumer is being rebuilt. `rebalancing` is true from the loss of an assignment to the
    next one, a rebuild included, and `rebalancing_seconds` is how long that has lasted.
    `losses` are the latest; `records_lost` counts those of all, since the bus started.
    `commits_failing` are partitions whose commits were refused, or have failed for a while.
    `is_full` says that nothing more is taken in of partitions that hold something. `full_by` is the
    topic and the partition that holds at least half of all then, so that the others have little room.
    `unhandled` counts the records that the filter of every subscription passed over.
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
    losses: tuple[LossStatus, ...] = ()
    records_lost: int = 0
    commits_failing: tuple[CommitStatus, ...] = ()
    is_full: bool = False
    full_by: tuple[str, int] | None = None
    unhandled: int = 0


@dataclass(frozen=True, slots=True)
class ProducerStatus:
    """The way to the log. `alive` is false once a task that must run has ended by itself.

    `needed` is true once anybody has published, or while a subscription may bury: only then is it
    a fault that the cluster refuses the rights to write.
    """

    alive: bool
    contact: ContactStatus
    pending: int
    published: int
    failed: int
    unknown: int
    needed: bool = True


@dataclass(frozen=True, slots=True)
class ThreadsStatus:
    """How busy the threads of `def` handlers and dependencies are; all of one bus share them.

    `stuck` of the `running` ones do something their caller gave up on; `waiting` calls have none.
    """

    limit: int
    running: int
    waiting: int
    stuck: int

    @property
    def hold_up_others(self) -> bool:
        """Whether those that are stuck keep calls waiting, or would keep the next one waiting."""
        return self.stuck > 0 and (self.waiting > 0 or self.stuck >= self.limit)


@dataclass(frozen=True, slots=True)
class BusStatus:
    """Everything that runs, at one moment."""

    phase: Phase
    producer: ProducerStatus | None
    workers: tuple[WorkerStatus, ...]
    problems: tuple[str, ...]
    """Words of a closed list that concern the whole bus, such as `dlq_unavailable`."""
    threads: ThreadsStatus | None = None
