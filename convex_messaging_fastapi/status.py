"""Frozen snapshots of the running bus: what the health probes show, and the only look into the machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from convex_messaging_fastapi.measuring import Speed
from convex_messaging_fastapi.messages.pauses import Pause
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
"""Problems that do not pass by themselves, and that fast retries make worse."""


class Phase(Enum):
    """Where a bus is in its life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition that a worker owns. Offsets are next offsets.

    `held` is why the partition waits (`dlq_unavailable`, `dead_letter_held`, `breaker_open`,
    `paused`), or `None`.
    `passed_over` counts records of this assignment that were not handed out, because the last commit
    says that an earlier owner had finished them. `end` is where the log ended when records of this
    partition were last fetched, `None` before; the log may have grown since.

    `lag`, `backlog` and `time_lag_seconds` are those of `PartitionLag`, by where the log ended when
    `bus.operations.lag()` was last asked for; `None` where that is more than ten seconds ago, since a status
    asks nobody.
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
    lag: int | None = None
    backlog: int | None = None
    time_lag_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """The breaker of one subscription: whether it is open, for how long, and how often it has opened."""

    is_open: bool
    open_seconds: float
    openings: int


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """One subscription's counts since the bus started, and what it is doing now.

    `filtered` counts the records that its filter did not want, `already_handled` the repeats that an
    inbox has known. `breaker` is `None` where it has none,
    `paused` where no operator has paused it, and `speed` where no observer is `Measuring`.
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
    breaker: BreakerStatus | None = None
    paused: Pause | None = None
    speed: Speed | None = None
    already_handled: int = 0


@dataclass(frozen=True, slots=True)
class ContactStatus:
    """Whether a producer or a worker is in contact with the cluster.

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
    """The log no longer had `from_offset`, so reading went on at `to_offset`.

    `records` counts the offsets known to be lost; `reason` is a sentence.
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
    """Failing commits of one partition: for how many seconds, and how many times in a row.

    The partition's next owner handles again what was handled meanwhile. `reason` is the cluster's
    answer to the last one.
    """

    topic: str
    partition: int
    seconds: float
    times: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One consumer of one group, with everything it owns.

    `alive` is false once a task that must run has ended by itself; it is true before the start and
    while the consumer is being rebuilt. `rebalancing` is true from the loss of an assignment to the
    next one, a rebuild included, and `rebalancing_seconds` is how long that has lasted.
    `losses` are the latest; `records_lost` counts those of all, since the bus started.
    `commits_failing` are partitions whose commits were refused, or have failed for a while.
    `is_full` says that only partitions without a buffered record are fetched. `full_by` is then the topic
    and partition that fills at least half of the buffer, so that the others have little room.
    `unhandled` counts the records that no subscription's filter wanted, `replayed` the copies of failed
    messages that were handed to a handler again.
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
    replayed: int = 0


@dataclass(frozen=True, slots=True)
class ProducerStatus:
    """The producer of a bus. `alive` is false once a task that must run has ended by itself.

    `needed` is true once anything was published, or while a subscription may bury: only then does it
    count that the cluster refuses the right to write.
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

    `stuck` counts those of the `running` whose caller has given up; `waiting` counts calls without a thread.
    """

    limit: int
    running: int
    waiting: int
    stuck: int

    @property
    def hold_up_others(self) -> bool:
        """Whether stuck threads keep calls waiting, or would keep the next one waiting."""
        return self.stuck > 0 and (self.waiting > 0 or self.stuck >= self.limit)


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """One outbox, as this process saw it at its last look into the database, `looked_seconds` ago.

    `relay` says whether a relay runs here, and `relays` how many live anywhere. `lanes` are held here, of
    64. `pending` rows are to be published, counted up to 10,001, the oldest for `oldest_seconds`; `held`
    are topics that cannot be written to, with the error; `parked` rows need a person. `published` counts what
    this process has published. `repeats_possible` are rows of them that may be published again.
    `database` is the kind of error while the database does not answer, `refused` the sentence for a
    database that cannot be used. `None` where nothing is known yet.
    """

    name: str
    relay: bool
    relays: int | None
    lanes: int
    pending: int | None
    oldest_seconds: float | None
    max_age_seconds: float
    parked: int | None
    held: tuple[tuple[str, str], ...]
    published: int
    repeats_possible: int
    database: str | None
    refused: str | None
    looked_seconds: float | None


@dataclass(frozen=True, slots=True)
class BusStatus:
    """Everything that runs, at one moment."""

    phase: Phase
    producer: ProducerStatus | None
    workers: tuple[WorkerStatus, ...]
    problems: tuple[str, ...]
    """Words of a closed list that concern the whole bus, such as `dlq_unavailable`."""
    threads: ThreadsStatus | None = None
    outboxes: tuple[OutboxStatus, ...] = ()
