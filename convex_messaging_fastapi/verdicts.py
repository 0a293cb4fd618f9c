"""What probes say about a snapshot: one status word, and the reasons for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from convex_messaging_fastapi.status import (
    REFUSALS,
    BusStatus,
    ContactStatus,
    OutboxStatus,
    Phase,
    Problem,
    ProducerStatus,
    WorkerStatus,
)

Readiness = Literal["kafka", "http"]
"""What readiness depends on: contact with Kafka, or only that the app itself is up."""

CONTACT_SECONDS = 12.0
"""A longer silence is a loss of contact. A healthy engine hears something every few seconds."""

REBALANCE_SECONDS = 60.0
"""A longer rebalance is a fault."""

LOSS_SECONDS = 3600.0
"""Lost records cannot be recovered, so a loss is reported for an hour; its count is never reset."""

STATUSES = ("failed", "down", "draining", "starting", "degraded", "standby", "up")
"""Every word a verdict may be, worst first."""

REASONS = frozenset(
    {
        *(problem.value for problem in Problem),
        # of the phase
        "not_started",
        "starting",
        "draining",
        "stopped",
        # of the parts
        "task_failed",
        "joining",
        "rebalancing",
        "dlq_unavailable",
        "dead_letter_held",
        "breaker_open",
        "paused",
        "records_lost",
        "commits_failing",
        "buffer_full",
        "threads_stuck",
        # of outboxes
        "outbox_database_unreachable",
        "outbox_no_relay",
        "outbox_parked",
        "outbox_stalled",
    }
)
"""Every reason a verdict may give. All of them may be public."""


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
    """Whether the bus has started. This does not wait for Kafka."""
    if status.phase in (Phase.RUNNING, Phase.DRAINING):
        return Verdict(True, "up")
    return overall(status)


def ready(status: BusStatus, readiness: Readiness = "kafka") -> Verdict:
    """Whether to send traffic here.

    With "kafka": the producer is in contact, each worker is in contact and a member, and dead
    letters can be written. With "http": the bus runs and none of its tasks has failed; the reasons
    still tell what is wrong with Kafka.
    """
    verdict = overall(status)
    if readiness == "kafka":
        return verdict
    return replace(verdict, ok=status.phase is Phase.RUNNING and verdict.status != "failed")


def overall(status: BusStatus) -> Verdict:
    """All parts as one: the worst status; `ok` unless some part cannot serve traffic that needs Kafka."""
    found = sorted(_findings(status), key=lambda finding: STATUSES.index(finding.status))
    reasons = dict.fromkeys(finding.reason for finding in found if finding.reason is not None)
    return Verdict(
        ok=not any(finding.blocks for finding in found),
        status=found[0].status if found else "up",
        reasons=tuple(reasons),
    )


class _Finding(NamedTuple):
    """One finding about one part; `blocks` if traffic that needs Kafka should stay away."""

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
"""These count at once, however fresh the contact."""


def _findings(status: BusStatus) -> Iterator[_Finding]:
    if status.phase is not Phase.RUNNING:
        yield _LIFE[status.phase]
        return  # parts that are starting or stopping are not judged
    yield from _failures(status)
    if status.producer is not None:
        yield from _of_producer(status.producer)
    for worker in status.workers:
        yield from _of_worker(worker)
    for problem in status.problems:
        yield _of_trouble(problem)
    if status.threads is not None and status.threads.hold_up_others:
        yield _of_trouble("threads_stuck")
    for outbox in status.outboxes:
        yield from _of_outbox(outbox, status.producer)


def _of_outbox(outbox: OutboxStatus, producer: ProducerStatus | None) -> Iterator[_Finding]:
    """None keeps traffic away: what is committed now is published later."""
    if outbox.database is not None or outbox.refused is not None:
        yield _of_trouble("outbox_database_unreachable")
        return  # what else is known is old
    if outbox.relays == 0:
        yield _of_trouble("outbox_no_relay")
    if outbox.parked:
        yield _of_trouble("outbox_parked")
    is_late = outbox.oldest_seconds is not None and outbox.oldest_seconds > outbox.max_age_seconds
    # Without contact the reason of that stands alone.
    if is_late and producer is not None and not any(each.blocks for each in _of_contact(producer.contact)):
        yield _of_trouble("outbox_stalled")


def _failures(status: BusStatus) -> Iterator[_Finding]:
    """Tasks that must run and have ended."""
    if status.phase is not Phase.RUNNING:
        return
    parts = (*status.workers, *(() if status.producer is None else (status.producer,)))
    if not all(part.alive for part in parts):
        yield _Finding("failed", "task_failed", True)


def _of_producer(producer: ProducerStatus) -> Iterator[_Finding]:
    """A refusal of the right to write is an answer: a bus that only reads needs no more than that."""
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
    if any(each.breaker is not None and each.breaker.is_open for each in worker.subscriptions):
        yield _of_trouble("breaker_open")
    if any(each.paused is not None for each in worker.subscriptions):
        yield _of_trouble("paused")
    if worker.full_by is not None:
        yield _of_trouble("buffer_full")


def _of_rebalance(worker: WorkerStatus) -> Iterator[_Finding]:
    """During a rebalance a worker need not be a member, and a rebuilt consumer has no contact yet."""
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
        yield _Finding("down", problem, True)  # brokers answer, but the group has no coordinator to join
    elif problem in ("topic_missing", "unreadable"):
        yield _Finding("degraded", problem, False)


def _of_trouble(reason: str) -> _Finding:
    return _Finding("degraded", reason, reason == "dlq_unavailable")
