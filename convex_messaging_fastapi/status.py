"""Frozen snapshots of the running bus and the verdicts drawn from them.

Health, metrics, console and command line only draw these; nothing else looks into the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, NamedTuple

from convex_messaging_fastapi.policies import Ordering

Readiness = Literal["kafka", "http"]
"""What being ready rests on: contact with Kafka, or only that the app itself is up."""

CONTACT_SECONDS = 12.0
"""Silence longer than this is loss of contact. A healthy engine hears something every few seconds."""

REBALANCE_SECONDS = 60.0
"""A rebalance longer than this is no longer part of normal life."""

LOSS_SECONDS = 3600.0
"""A loss cannot be healed: so long it is told, that somebody sees it. Its count stays."""

STATUSES = ("failed", "down", "draining", "starting", "degraded", "standby", "up")
"""Every word a verdict may be, worst first."""


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

REASONS = frozenset(
    {
        *(problem.value for problem in Problem),
        # where the bus is in its life
        "not_started",
        "starting",
        "draining",
        "stopped",
        # what the snapshots themselves tell
        "task_failed",
        "joining",
        "rebalancing",
        "dlq_unavailable",
        "dead_letter_held",
        "records_lost",
        "commits_failing",
        "buffer_full",
        "threads_stuck",
    }
)
"""Every reason a verdict may give. All of them may be shown to the world."""


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
    says that an earlier owner had finished them.
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
    of the closed list `transport.base.Problem`; `detail` may name hosts.
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a probe answers: `ok`, one word of `STATUSES`, and words of `REASONS`, the worst first."""

    ok: bool
    status: str
    reasons: tuple[str, ...] = ()


def live(status: BusStatus) -> Verdict:
    """Whether this process should go on: false only for what a restart repairs.

    Never false for a broker, a rebalance, lag, dead letters, or a bus that is starting or draining.
    """
    if any(_failures(status)):
        return Verdict(False, "failed", ("task_failed",))
    return Verdict(True, "up")


def startup(status: BusStatus) -> Verdict:
    """Whether the bus has been set going. It does not wait for Kafka."""
    if status.phase in (Phase.RUNNING, Phase.DRAINING):
        return Verdict(True, "up")
    return overall(status)


def ready(status: BusStatus, readiness: Readiness = "kafka") -> Verdict:
    """Whether to send traffic here.

    With "kafka": the producer is in contact, each worker is in contact and a member, and dead
    letters can be written. With "http": the bus runs and none of its tasks has failed; what is
    wrong with Kafka is told all the same.
    """
    verdict = overall(status)
    if readiness == "kafka":
        return verdict
    return replace(verdict, ok=status.phase is Phase.RUNNING and verdict.status != "failed")


def overall(status: BusStatus) -> Verdict:
    """All parts as one: `ok` if none keeps traffic away that needs Kafka, the worst one's status."""
    found = sorted(_findings(status), key=lambda finding: STATUSES.index(finding.status))
    reasons = dict.fromkeys(finding.reason for finding in found if finding.reason is not None)
    return Verdict(
        ok=not any(finding.blocks for finding in found),
        status=found[0].status if found else "up",
        reasons=tuple(reasons),
    )


class _Finding(NamedTuple):
    """One thing to be told of one part; `blocks` if traffic that needs Kafka should stay away."""

    status: str
    reason: str | None
    blocks: bool


_LIFE = {
    Phase.NEW: _Finding("starting", "not_started", True),
    Phase.STARTING: _Finding("starting", "starting", True),
    Phase.DRAINING: _Finding("draining", "draining", True),
    Phase.STOPPED: _Finding("down", "stopped", True),
}

_REFUSALS = frozenset(problem.value for problem in REFUSALS)
"""They count at once, however fresh the contact."""


def _findings(status: BusStatus) -> Iterator[_Finding]:
    if status.phase is not Phase.RUNNING:
        yield _LIFE[status.phase]
        return  # parts that are being set up or taken down are not judged
    yield from _failures(status)
    if status.producer is not None:
        yield from _of_producer(status.producer)
    for worker in status.workers:
        yield from _of_worker(worker)
    for problem in status.problems:
        yield _of_trouble(problem)
    if status.threads is not None and status.threads.hold_up_others:
        yield _of_trouble("threads_stuck")


def _failures(status: BusStatus) -> Iterator[_Finding]:
    """The tasks that have ended although nothing asked them to."""
    if status.phase is not Phase.RUNNING:
        return
    parts = (*status.workers, *(() if status.producer is None else (status.producer,)))
    if not all(part.alive for part in parts):
        yield _Finding("failed", "task_failed", True)


def _of_producer(producer: ProducerStatus) -> Iterator[_Finding]:
    """A cluster that refuses the rights to write has answered: that is all who only reads needs of it."""
    if producer.needed or producer.contact.problem != "not_authorized":
        yield from _of_contact(producer.contact)


def _of_worker(worker: WorkerStatus) -> Iterator[_Finding]:
    if any(loss.age_seconds < LOSS_SECONDS for loss in worker.losses):
        yield _of_trouble("records_lost")
    if worker.rebalancing:
        yield from _of_rebalance(worker)
        return
    contact = tuple(_of_contact(worker.contact))
    yield from contact
    if any(finding.blocks for finding in contact):
        return  # membership and partitions follow from contact
    if not worker.contact.member:
        yield _Finding("starting", "joining", True)
    elif not worker.partitions:
        yield _Finding("standby", None, False)
    if worker.commits_failing:
        yield _of_trouble("commits_failing")
    yield from (_of_trouble(partition.held) for partition in worker.partitions if partition.held is not None)
    if worker.full_by is not None:
        yield _of_trouble("buffer_full")


def _of_rebalance(worker: WorkerStatus) -> Iterator[_Finding]:
    """Whoever rebalances need not be a member, and a consumer that was rebuilt has no contact yet."""
    if worker.rebalancing_seconds > REBALANCE_SECONDS:
        yield _Finding("down", "rebalancing", True)
    else:
        yield _Finding("up", "rebalancing", False)
    if worker.contact.age_seconds is not None or worker.contact.problem in _REFUSALS:
        yield from _of_contact(worker.contact)


def _of_contact(contact: ContactStatus) -> Iterator[_Finding]:
    problem, age = contact.problem, contact.age_seconds
    if problem in _REFUSALS:
        yield _Finding("down", problem, True)
    elif age is None and problem in (None, "connecting"):
        yield _Finding("starting", "connecting", True)
    elif age is None or age > CONTACT_SECONDS:
        yield _Finding("down", "engine_failed" if problem == "engine_failed" else "broker_unreachable", True)
    elif problem == "no_coordinator":
        yield _Finding("down", problem, True)  # brokers answer, and yet the group has nobody to join
    elif problem in ("topic_missing", "unreadable"):
        yield _Finding("degraded", problem, False)


def _of_trouble(reason: str) -> _Finding:
    return _Finding("degraded", reason, reason == "dlq_unavailable")
