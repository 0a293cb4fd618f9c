"""The verdicts: what each probe says of every situation that a bus can be in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.status import BusStatus, ContactStatus, Phase, ThreadsStatus
from convex_messaging_fastapi.transport.base import Problem
from convex_messaging_fastapi.verdicts import REASONS, STATUSES, Verdict, live, overall, ready, startup
from tests.support.snapshots import (
    DEAD_LETTER_HELD,
    DLQ_UNAVAILABLE,
    FRESH,
    PARTITION,
    PRODUCER,
    SILENT,
    SITUATIONS,
    UP,
    WORKER,
    Situation,
    with_contact,
)


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_every_situation_has_its_answers(situation: Situation) -> None:
    status = situation.status
    verdicts = (startup(status), live(status), ready(status, "http"), ready(status))
    assert tuple(200 if verdict.ok else 503 for verdict in verdicts) == situation.codes
    assert (overall(status).status, list(overall(status).reasons)) == (situation.word, situation.reasons)


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


@pytest.mark.parametrize(
    ("threads", "reasons"),
    [
        (ThreadsStatus(limit=4, running=4, waiting=9, stuck=0), ()),
        (ThreadsStatus(limit=4, running=3, waiting=0, stuck=3), ()),
        (ThreadsStatus(limit=4, running=4, waiting=1, stuck=1), ("threads_stuck",)),
        (ThreadsStatus(limit=4, running=4, waiting=0, stuck=4), ("threads_stuck",)),
    ],
)
def test_stuck_threads_are_told_once_they_hold_up_others(
    threads: ThreadsStatus, reasons: tuple[str, ...]
) -> None:
    verdict = ready(replace(UP, threads=threads))
    assert verdict == Verdict(True, "degraded" if reasons else "up", reasons)
    assert live(replace(UP, threads=threads)).ok


def test_a_buffer_that_one_partition_fills_is_told_and_keeps_no_traffic_away() -> None:
    full = replace(UP, workers=(replace(WORKER, is_full=True, full_by=("convex.bets", 3)),))
    assert ready(full) == Verdict(True, "degraded", ("buffer_full",))
    assert ready(replace(UP, workers=(replace(WORKER, is_full=True),))).reasons == ()
