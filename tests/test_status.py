"""The verdicts: what each probe says of every situation that a bus can be in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.status import (
    CONTACT_SECONDS,
    REASONS,
    REBALANCE_SECONDS,
    STATUSES,
    BusStatus,
    ContactStatus,
    PartitionStatus,
    Phase,
    ProducerStatus,
    Verdict,
    WorkerStatus,
    live,
    overall,
    ready,
    startup,
)
from convex_messaging_fastapi.transport.base import Problem

DLQ_UNAVAILABLE, DEAD_LETTER_HELD = "dlq_unavailable", "dead_letter_held"

FRESH = ContactStatus(age_seconds=0.8, member=True, problem=None, detail="", rebuilds=0)
NEVER = replace(FRESH, age_seconds=None, member=False, problem="connecting")
SILENT = replace(
    FRESH, age_seconds=CONTACT_SECONDS + 0.1, problem="broker_unreachable", detail="kafka-1:9092"
)
REFUSED = replace(FRESH, age_seconds=None, member=False, problem="auth_failed", detail="user orders")

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
UP = BusStatus(phase=Phase.RUNNING, producer=PRODUCER, workers=(WORKER,), problems=())


def with_contact(contact: ContactStatus) -> BusStatus:
    return replace(
        UP, producer=replace(PRODUCER, contact=contact), workers=(replace(WORKER, contact=contact),)
    )


def with_worker(**changes: object) -> BusStatus:
    return replace(UP, workers=(replace(WORKER, **changes),))  # type: ignore[arg-type]


def holding(reason: str) -> BusStatus:
    return with_worker(partitions=(PARTITION, replace(PARTITION, partition=4, held=reason)))


REBALANCING = {"rebalancing": True, "partitions": (), "contact": replace(FRESH, member=False)}
REBUILDING = {"rebalancing": True, "partitions": (), "contact": NEVER, "rebalancing_seconds": 21.0}

SITUATIONS = {
    # name: (status, startup, live, ready "http", ready "kafka", status word, reasons)
    "not started": (replace(UP, phase=Phase.NEW), 503, 200, 503, 503, "starting", ["not_started"]),
    "starting": (replace(UP, phase=Phase.STARTING), 503, 200, 503, 503, "starting", ["starting"]),
    "connecting for the first time": (
        with_contact(NEVER),
        *(200, 200, 200, 503),
        "starting",
        ["connecting"],
    ),
    "normal": (UP, 200, 200, 200, 200, "up", []),
    "no subscribers: the producer alone": (replace(UP, workers=()), 200, 200, 200, 200, "up", []),
    "rebalancing": (with_worker(**REBALANCING), 200, 200, 200, 200, "up", ["rebalancing"]),
    "consumer being rebuilt for a new topic": (
        with_worker(**REBUILDING),
        *(200, 200, 200, 200),
        "up",
        ["rebalancing"],
    ),
    "rebalancing for too long": (
        with_worker(**REBALANCING, rebalancing_seconds=REBALANCE_SECONDS + 1),
        *(200, 200, 200, 503),
        "down",
        ["rebalancing"],
    ),
    "broker lost while rebalancing": (
        with_worker(**REBALANCING | {"contact": SILENT}),
        *(200, 200, 200, 503),
        "down",
        ["broker_unreachable", "rebalancing"],
    ),
    "refused while being rebuilt": (
        with_worker(**REBUILDING | {"contact": REFUSED}),
        *(200, 200, 200, 503),
        "down",
        ["auth_failed", "rebalancing"],
    ),
    "standby: a member with no partitions": (with_worker(partitions=()), 200, 200, 200, 200, "standby", []),
    "in contact but not a member yet": (
        with_worker(partitions=(), contact=replace(FRESH, member=False), revision=0),
        *(200, 200, 200, 503),
        "starting",
        ["joining"],
    ),
    "one of two workers is not a member": (
        replace(UP, workers=(WORKER, replace(WORKER, contact=replace(FRESH, member=False)))),
        *(200, 200, 200, 503),
        "starting",
        ["joining"],
    ),
    "broker silent for a moment": (
        with_contact(replace(SILENT, age_seconds=CONTACT_SECONDS)),
        *(200, 200, 200, 200),
        "up",
        [],
    ),
    "broker unreachable": (with_contact(SILENT), 200, 200, 200, 503, "down", ["broker_unreachable"]),
    "silent and nobody knows why": (
        with_contact(replace(SILENT, problem=None)),
        *(200, 200, 200, 503),
        "down",
        ["broker_unreachable"],
    ),
    "only the producer is cut off": (
        replace(UP, producer=replace(PRODUCER, contact=SILENT)),
        *(200, 200, 200, 503),
        "down",
        ["broker_unreachable"],
    ),
    "only one worker is cut off": (
        replace(UP, workers=(WORKER, replace(WORKER, contact=SILENT))),
        *(200, 200, 200, 503),
        "down",
        ["broker_unreachable"],
    ),
    "auth refused at the start": (with_contact(REFUSED), 200, 200, 200, 503, "down", ["auth_failed"]),
    "group refused though the broker answers": (
        with_worker(contact=replace(FRESH, problem="group_refused")),
        *(200, 200, 200, 503),
        "down",
        ["group_refused"],
    ),
    "engine replaced, contact still fresh": (
        replace(UP, producer=replace(PRODUCER, contact=replace(FRESH, problem="engine_failed"))),
        *(200, 200, 200, 200),
        "up",
        [],
    ),
    "engine keeps failing": (
        replace(UP, producer=replace(PRODUCER, contact=replace(SILENT, problem="engine_failed"))),
        *(200, 200, 200, 503),
        "down",
        ["engine_failed"],
    ),
    "a topic does not exist yet": (
        with_worker(contact=replace(FRESH, problem="topic_missing")),
        *(200, 200, 200, 200),
        "degraded",
        ["topic_missing"],
    ),
    "dead letters cannot be written": (
        replace(UP, problems=(DLQ_UNAVAILABLE,)),
        *(200, 200, 200, 503),
        "degraded",
        ["dlq_unavailable"],
    ),
    "a partition waits because burying fails": (
        holding(DLQ_UNAVAILABLE),
        *(200, 200, 200, 503),
        "degraded",
        ["dlq_unavailable"],
    ),
    "a dead letter is held on purpose": (
        holding(DEAD_LETTER_HELD),
        *(200, 200, 200, 200),
        "degraded",
        ["dead_letter_held"],
    ),
    "a worker's task has failed": (with_worker(alive=False), 200, 503, 503, 503, "failed", ["task_failed"]),
    "the producer's task has failed": (
        replace(UP, producer=replace(PRODUCER, alive=False)),
        *(200, 503, 503, 503),
        "failed",
        ["task_failed"],
    ),
    "draining": (replace(UP, phase=Phase.DRAINING), 200, 200, 503, 503, "draining", ["draining"]),
    "draining with its tasks already ended": (
        replace(with_worker(alive=False), phase=Phase.DRAINING),
        *(200, 200, 503, 503),
        "draining",
        ["draining"],
    ),
    "stopped": (
        BusStatus(Phase.STOPPED, None, (), ()),
        *(503, 200, 503, 503),
        "down",
        ["stopped"],
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_every_situation_has_its_answers(situation: tuple[object, ...]) -> None:
    status, *codes, word, reasons = situation
    assert isinstance(status, BusStatus)
    verdicts = [startup(status), live(status), ready(status, "http"), ready(status)]
    assert [200 if verdict.ok else 503 for verdict in verdicts] == codes
    assert (overall(status).status, list(overall(status).reasons)) == (word, reasons)


def test_http_readiness_shows_what_it_does_not_judge() -> None:
    assert ready(with_contact(SILENT), "http") == Verdict(True, "down", ("broker_unreachable",))


def test_several_troubles_are_told_once_each_with_the_worst_first() -> None:
    status = replace(
        UP,
        workers=(replace(WORKER, contact=replace(FRESH, problem="topic_missing")), WORKER),
        producer=replace(PRODUCER, contact=SILENT),
        problems=(DLQ_UNAVAILABLE,),
    )
    assert overall(status) == Verdict(
        False, "down", ("broker_unreachable", "topic_missing", "dlq_unavailable")
    )


def test_every_problem_of_a_transport_is_a_reason_that_may_be_shown() -> None:
    assert {problem.value for problem in Problem} <= REASONS


contacts = st.builds(
    ContactStatus,
    age_seconds=st.none() | st.floats(0, 1e9),
    member=st.booleans(),
    problem=st.none() | st.sampled_from([problem.value for problem in Problem]),
    detail=st.text(),
    rebuilds=st.integers(0, 9),
)
partitions = st.builds(
    replace, st.just(PARTITION), held=st.sampled_from([None, DLQ_UNAVAILABLE, DEAD_LETTER_HELD])
)
workers = st.builds(
    replace,
    st.just(WORKER),
    contact=contacts,
    alive=st.just(True),
    rebalancing=st.booleans(),
    rebalancing_seconds=st.floats(0, 1e9),
    partitions=st.tuples() | st.tuples(partitions) | st.tuples(partitions, partitions),
)
buses = st.builds(
    BusStatus,
    phase=st.sampled_from(Phase),
    producer=st.none() | st.builds(replace, st.just(PRODUCER), contact=contacts),
    workers=st.tuples() | st.tuples(workers) | st.tuples(workers, workers),
    problems=st.sampled_from([(), (DLQ_UNAVAILABLE,)]),
)


@given(buses)
def test_while_every_task_runs_nothing_makes_live_fail(status: BusStatus) -> None:
    assert live(status).ok


@given(buses)
def test_verdicts_use_closed_lists_and_give_a_reason_for_every_no(status: BusStatus) -> None:
    for verdict in (overall(status), live(status), startup(status), ready(status, "http")):
        assert verdict.status in STATUSES
        assert set(verdict.reasons) <= REASONS
        assert verdict.ok or verdict.reasons


@given(buses)
def test_who_is_ready_for_kafka_is_ready_for_http(status: BusStatus) -> None:
    assert ready(status, "http").ok or not ready(status).ok
