"""Snapshots of buses in every situation they can be in, and what probes should say of each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from convex_messaging_fastapi.messages.pauses import Pause
from convex_messaging_fastapi.status import (
    BreakerStatus,
    BusStatus,
    CommitStatus,
    ContactStatus,
    LossStatus,
    OutboxStatus,
    PartitionStatus,
    Phase,
    ProducerStatus,
    SubscriptionStatus,
    WorkerStatus,
)
from convex_messaging_fastapi.verdicts import CONTACT_SECONDS, LOSS_SECONDS, REBALANCE_SECONDS

BREAKER_OPEN = "breaker_open"
DLQ_UNAVAILABLE, DEAD_LETTER_HELD = "dlq_unavailable", "dead_letter_held"

FRESH = ContactStatus(age_seconds=0.8, member=True, problem=None, detail="", rebuilds=0)
NEVER = replace(FRESH, age_seconds=None, member=False, problem="connecting")
SILENT = replace(
    FRESH, age_seconds=CONTACT_SECONDS + 0.1, problem="broker_unreachable", detail="kafka-1:9092"
)
REFUSED = replace(FRESH, age_seconds=None, member=False, problem="auth_failed", detail="user orders")
WITHOUT_RIGHTS = replace(NEVER, problem="not_authorized")

PARTITION = PartitionStatus(
    topic="convex.orders",
    partition=3,
    committed=10,
    position=12,
    unfinished=2,
    oldest_unfinished=10,
    oldest_age_seconds=0.1,
    held=None,
)
LOSS = LossStatus(
    topic="convex.orders",
    partition=3,
    from_offset=4,
    to_offset=10,
    records=6,
    reason="6 records are gone before they were read: 4..9",
    age_seconds=61.5,
)
COMMITS_FAILING = CommitStatus(
    topic="convex.orders", partition=3, seconds=31.25, times=7, reason="the topic was deleted"
)
BROKEN = SubscriptionStatus(
    id="orders.charge",
    topics=("convex.orders",),
    group="billing",
    ordering="key",
    concurrency=32,
    running=0,
    waiting=7,
    backing_off=0,
    handled=0,
    failed_attempts=20,
    buried=0,
    discarded=0,
    breaker=BreakerStatus(is_open=True, open_seconds=12.5, openings=1),
)
PAUSE = Pause("ada", datetime(2026, 1, 1, 12, tzinfo=UTC), "database away")
PRODUCER = ProducerStatus(alive=True, contact=FRESH, pending=0, published=1, failed=0, unknown=0)
WORKER = WorkerStatus(
    group="billing",
    topics=("convex.orders",),
    alive=True,
    rebalancing=False,
    contact=FRESH,
    partitions=(PARTITION,),
    subscriptions=(),
    buffered_records=0,
    buffered_bytes=0,
    revision=1,
)
OUTBOX = OutboxStatus(
    name="messaging_outbox",
    relay=True,
    relays=2,
    lanes=32,
    pending=12,
    oldest_seconds=0.4,
    max_age_seconds=60.0,
    parked=0,
    held=(),
    published=1_000,
    repeats_possible=0,
    database=None,
    refused=None,
    looked_seconds=1.5,
)
UP = BusStatus(phase=Phase.RUNNING, producer=PRODUCER, workers=(WORKER,), problems=())


def with_contact(contact: ContactStatus) -> BusStatus:
    return replace(
        UP, producer=replace(PRODUCER, contact=contact), workers=(replace(WORKER, contact=contact),)
    )


def with_worker(**changes: object) -> BusStatus:
    return replace(UP, workers=(replace(WORKER, **changes),))  # type: ignore[arg-type]


def with_outbox(**changes: Any) -> BusStatus:
    return replace(UP, outboxes=(replace(OUTBOX, **changes),))


def holding(reason: str) -> BusStatus:
    return with_worker(partitions=(PARTITION, replace(PARTITION, partition=4, held=reason)))


REBALANCING = {"rebalancing": True, "partitions": (), "contact": replace(FRESH, member=False)}
REBUILDING = {"rebalancing": True, "partitions": (), "contact": NEVER, "rebalancing_seconds": 21.0}


class Situation(NamedTuple):
    """A snapshot, the status codes of the probes, and what the summary says of it."""

    status: BusStatus
    codes: tuple[int, int, int, int]  # startup, live, ready for "http", ready for "kafka"
    word: str
    reasons: list[str]


SITUATIONS = {
    "not started": Situation(replace(UP, phase=Phase.NEW), (503, 200, 503, 503), "starting", ["not_started"]),
    "starting": Situation(replace(UP, phase=Phase.STARTING), (503, 200, 503, 503), "starting", ["starting"]),
    "connecting for the first time": Situation(
        with_contact(NEVER), (200, 200, 200, 503), "starting", ["connecting"]
    ),
    "normal": Situation(UP, (200, 200, 200, 200), "up", []),
    "no subscribers: the producer alone": Situation(replace(UP, workers=()), (200, 200, 200, 200), "up", []),
    "rebalancing": Situation(with_worker(**REBALANCING), (200, 200, 200, 200), "up", ["rebalancing"]),
    "consumer being rebuilt for a new topic": Situation(
        with_worker(**REBUILDING), (200, 200, 200, 200), "up", ["rebalancing"]
    ),
    "rebalancing for too long": Situation(
        with_worker(**REBALANCING, rebalancing_seconds=REBALANCE_SECONDS + 1),
        (200, 200, 200, 503),
        "down",
        ["rebalancing"],
    ),
    "broker lost while rebalancing": Situation(
        with_worker(**REBALANCING | {"contact": SILENT}),
        (200, 200, 200, 503),
        "down",
        ["broker_unreachable", "rebalancing"],
    ),
    "refused while being rebuilt": Situation(
        with_worker(**REBUILDING | {"contact": REFUSED}),
        (200, 200, 200, 503),
        "down",
        ["auth_failed", "rebalancing"],
    ),
    "a breaker is open": Situation(
        with_worker(subscriptions=(BROKEN,)), (200, 200, 200, 200), "degraded", [BREAKER_OPEN]
    ),
    "a breaker is open and holds its partitions": Situation(
        with_worker(subscriptions=(BROKEN,), partitions=(replace(PARTITION, held=BREAKER_OPEN),)),
        (200, 200, 200, 200),
        "degraded",
        [BREAKER_OPEN],
    ),
    "a handler is paused": Situation(
        with_worker(
            subscriptions=(replace(BROKEN, breaker=None, paused=PAUSE),),
            partitions=(replace(PARTITION, held="paused"),),
        ),
        (200, 200, 200, 200),
        "degraded",
        ["paused"],
    ),
    "a breaker has closed": Situation(
        with_worker(subscriptions=(replace(BROKEN, breaker=BreakerStatus(False, 0.0, 1)),)),
        (200, 200, 200, 200),
        "up",
        [],
    ),
    "records lost to retention": Situation(
        with_worker(losses=(LOSS,), records_lost=6), (200, 200, 200, 200), "degraded", ["records_lost"]
    ),
    "records lost long ago": Situation(
        with_worker(losses=(replace(LOSS, age_seconds=LOSS_SECONDS),), records_lost=6),
        (200, 200, 200, 200),
        "up",
        [],
    ),
    "records lost, and the broker too": Situation(
        with_worker(losses=(LOSS,), records_lost=6, contact=SILENT),
        (200, 200, 200, 503),
        "down",
        ["broker_unreachable", "records_lost"],
    ),
    "standby: a member with no partitions": Situation(
        with_worker(partitions=()), (200, 200, 200, 200), "standby", []
    ),
    "in contact but not a member yet": Situation(
        with_worker(partitions=(), contact=replace(FRESH, member=False), revision=0),
        (200, 200, 200, 503),
        "starting",
        ["joining"],
    ),
    "one of two workers is not a member": Situation(
        replace(UP, workers=(WORKER, replace(WORKER, contact=replace(FRESH, member=False)))),
        (200, 200, 200, 503),
        "starting",
        ["joining"],
    ),
    "broker silent for a moment": Situation(
        with_contact(replace(SILENT, age_seconds=CONTACT_SECONDS)), (200, 200, 200, 200), "up", []
    ),
    "broker unreachable": Situation(
        with_contact(SILENT), (200, 200, 200, 503), "down", ["broker_unreachable"]
    ),
    "silent and nobody knows why": Situation(
        with_contact(replace(SILENT, problem=None)), (200, 200, 200, 503), "down", ["broker_unreachable"]
    ),
    "only the producer is cut off": Situation(
        replace(UP, producer=replace(PRODUCER, contact=SILENT)),
        (200, 200, 200, 503),
        "down",
        ["broker_unreachable"],
    ),
    "only one worker is cut off": Situation(
        replace(UP, workers=(WORKER, replace(WORKER, contact=SILENT))),
        (200, 200, 200, 503),
        "down",
        ["broker_unreachable"],
    ),
    "auth refused at the start": Situation(
        with_contact(REFUSED), (200, 200, 200, 503), "down", ["auth_failed"]
    ),
    "group refused though the broker answers": Situation(
        with_worker(contact=replace(FRESH, problem="group_refused")),
        (200, 200, 200, 503),
        "down",
        ["group_refused"],
    ),
    "nobody coordinates the group though brokers answer": Situation(
        with_worker(contact=replace(FRESH, member=False, problem="no_coordinator")),
        (200, 200, 200, 503),
        "down",
        ["no_coordinator"],
    ),
    "nobody coordinates the group while it is rebuilt": Situation(
        with_worker(**REBALANCING | {"contact": replace(FRESH, member=False, problem="no_coordinator")}),
        (200, 200, 200, 503),
        "down",
        ["no_coordinator", "rebalancing"],
    ),
    "the right to write is refused to who only reads": Situation(
        replace(UP, producer=replace(PRODUCER, contact=WITHOUT_RIGHTS, needed=False)),
        (200, 200, 200, 200),
        "up",
        [],
    ),
    "the right to write is refused to who writes": Situation(
        replace(UP, producer=replace(PRODUCER, contact=WITHOUT_RIGHTS)),
        (200, 200, 200, 503),
        "down",
        ["not_authorized"],
    ),
    "who only reads is refused to log in": Situation(
        replace(UP, producer=replace(PRODUCER, contact=REFUSED, needed=False)),
        (200, 200, 200, 503),
        "down",
        ["auth_failed"],
    ),
    "who only reads is cut off": Situation(
        replace(UP, producer=replace(PRODUCER, contact=SILENT, needed=False)),
        (200, 200, 200, 503),
        "down",
        ["broker_unreachable"],
    ),
    "the right to read is refused": Situation(
        with_worker(contact=WITHOUT_RIGHTS), (200, 200, 200, 503), "down", ["not_authorized"]
    ),
    "engine replaced, contact still fresh": Situation(
        replace(UP, producer=replace(PRODUCER, contact=replace(FRESH, problem="engine_failed"))),
        (200, 200, 200, 200),
        "up",
        [],
    ),
    "engine keeps failing": Situation(
        replace(UP, producer=replace(PRODUCER, contact=replace(SILENT, problem="engine_failed"))),
        (200, 200, 200, 503),
        "down",
        ["engine_failed"],
    ),
    "a topic does not exist yet": Situation(
        with_worker(contact=replace(FRESH, problem="topic_missing")),
        (200, 200, 200, 200),
        "degraded",
        ["topic_missing"],
    ),
    "a group has no coordinator": Situation(
        with_worker(contact=replace(FRESH, problem="no_coordinator", member=False)),
        (200, 200, 200, 503),
        "down",
        ["no_coordinator"],
    ),
    "a batch cannot be read": Situation(
        with_worker(contact=replace(FRESH, problem="unreadable")),
        (200, 200, 200, 200),
        "degraded",
        ["unreadable"],
    ),
    "offsets cannot be committed": Situation(
        with_worker(commits_failing=(COMMITS_FAILING,)), (200, 200, 200, 200), "degraded", ["commits_failing"]
    ),
    "offsets cannot be committed, for the broker is lost": Situation(
        with_worker(commits_failing=(COMMITS_FAILING,), contact=SILENT),
        (200, 200, 200, 503),
        "down",
        ["broker_unreachable"],
    ),
    "dead letters cannot be written": Situation(
        replace(UP, problems=(DLQ_UNAVAILABLE,)), (200, 200, 200, 503), "degraded", ["dlq_unavailable"]
    ),
    "a partition waits because burying fails": Situation(
        holding(DLQ_UNAVAILABLE), (200, 200, 200, 503), "degraded", ["dlq_unavailable"]
    ),
    "a dead letter is held on purpose": Situation(
        holding(DEAD_LETTER_HELD), (200, 200, 200, 200), "degraded", ["dead_letter_held"]
    ),
    "a worker's task has failed": Situation(
        with_worker(alive=False), (200, 503, 503, 503), "failed", ["task_failed"]
    ),
    "the producer's task has failed": Situation(
        replace(UP, producer=replace(PRODUCER, alive=False)), (200, 503, 503, 503), "failed", ["task_failed"]
    ),
    "draining": Situation(replace(UP, phase=Phase.DRAINING), (200, 200, 503, 503), "draining", ["draining"]),
    "draining with its tasks already ended": Situation(
        replace(with_worker(alive=False), phase=Phase.DRAINING),
        (200, 200, 503, 503),
        "draining",
        ["draining"],
    ),
    "an outbox is well": Situation(with_outbox(), (200, 200, 200, 200), "up", []),
    "the database of an outbox is away": Situation(
        with_outbox(database="OperationalError", oldest_seconds=900.0),
        (200, 200, 200, 200),
        "degraded",
        ["outbox_database_unreachable"],
    ),
    "the database of an outbox is refused": Situation(
        with_outbox(refused="it has no table"),
        (200, 200, 200, 200),
        "degraded",
        ["outbox_database_unreachable"],
    ),
    "nobody relays an outbox": Situation(
        with_outbox(relay=False, relays=0), (200, 200, 200, 200), "degraded", ["outbox_no_relay"]
    ),
    "rows of an outbox are parked": Situation(
        with_outbox(parked=2), (200, 200, 200, 200), "degraded", ["outbox_parked"]
    ),
    "rows of an outbox wait too long": Situation(
        with_outbox(oldest_seconds=60.1), (200, 200, 200, 200), "degraded", ["outbox_stalled"]
    ),
    "rows of an outbox wait while the broker is lost": Situation(
        replace(with_outbox(oldest_seconds=900.0), producer=replace(PRODUCER, contact=SILENT)),
        (200, 200, 200, 503),
        "down",
        ["broker_unreachable"],
    ),
    "stopped": Situation(BusStatus(Phase.STOPPED, None, (), ()), (503, 200, 503, 503), "down", ["stopped"]),
}
