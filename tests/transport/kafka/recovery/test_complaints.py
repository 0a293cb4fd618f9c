"""What is wrong is said for as long as it holds; what is said twice does not pass by itself."""

from __future__ import annotations

import logging

import pytest
from aiokafka.errors import GroupAuthorizationFailedError

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Problem, Unreadable
from convex_messaging_fastapi.transport.kafka.recovery.complaints import Complaints
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import Explanation, explain_membership
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

REFUSED = GroupAuthorizationFailedError("billing")
UNREADABLE = Explanation(Problem.UNREADABLE, "orders/1 at 7: broken")
WHERE = TopicPartition("orders", 1)
BATCH = Unreadable(7, 9, "ValueError", "broken")
TUNING = Tuning(complaint_seconds=10, partition_pause_seconds=5, rival_seconds=30)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def complaints(clock: ManualClock) -> Complaints:
    return Complaints("billing", clock, TUNING)


def test_one_complaint_may_pass_and_a_second_soon_after_does_not(
    complaints: Complaints, clock: ManualClock
) -> None:
    assert complaints.hear(REFUSED) is None
    clock.advance(9)
    assert complaints.hear(REFUSED) == complaints.current() == explain_membership(REFUSED)
    clock.advance(11)
    assert complaints.current() is None
    assert complaints.hear(REFUSED) is None


def test_a_rival_is_told_of_for_as_long_as_it_takes_to_be_sure(
    complaints: Complaints, clock: ManualClock
) -> None:
    rival = Explanation(Problem.GROUP_REFUSED, "another has our name")
    complaints.hear_of_rival(rival)
    clock.advance(29)
    assert complaints.current() is rival
    clock.advance(2)
    assert complaints.current() is None


def test_a_partition_rests_and_is_complained_of_until_it_is_read(
    complaints: Complaints, clock: ManualClock
) -> None:
    complaints.let_rest(WHERE, UNREADABLE, 7)
    assert complaints.rests(WHERE)
    clock.advance(6)
    assert not complaints.rests(WHERE)
    assert complaints.current() is UNREADABLE
    complaints.is_read(WHERE)
    assert complaints.current() is None


def test_the_log_has_one_error_of_it_and_another_when_it_changes(
    complaints: Complaints, caplog: pytest.LogCaptureFixture
) -> None:
    for why in (UNREADABLE, UNREADABLE, Explanation(Problem.UNREADABLE, "orders/1 at 8: broken")):
        complaints.let_rest(WHERE, why, 7)
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "group billing cannot read orders/1 at 7: broken",
        "group billing cannot read orders/1 at 8: broken",
    ]


def test_a_header_that_had_to_be_mended_is_told_once_a_partition(
    complaints: Complaints, caplog: pytest.LogCaptureFixture
) -> None:
    for partition, offset in ((1, 7), (1, 9), (2, 3)):
        complaints.hear_of_header(TopicPartition("orders", partition), offset)
        complaints.forget_partitions()
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.message for record in told] == [
        "group billing, orders/1/7: a header's name is not UTF-8 and is mended",
        "group billing, orders/2/3: a header's name is not UTF-8 and is mended",
    ]
    about = [getattr(told[0], name) for name in ("topic", "partition", "offset", "group")]
    assert about == ["orders", 1, 7, "billing"]


@pytest.mark.parametrize(
    ("problem", "optional", "told"),
    [
        (Problem.NOT_AUTHORIZED, frozenset[str](), True),
        (Problem.NOT_AUTHORIZED, frozenset({"orders"}), False),
        (Problem.UNREADABLE, frozenset({"orders"}), True),
    ],
)
def test_nobody_need_be_let_read_an_optional_topic(
    complaints: Complaints, problem: Problem, optional: frozenset[str], told: bool
) -> None:
    complaints.optional = optional
    why = Explanation(problem, "orders/1 at 7")
    complaints.let_rest(WHERE, why, 7)
    assert complaints.current() == (why if told else None)


def test_partitions_are_forgotten_with_their_assignment(complaints: Complaints, clock: ManualClock) -> None:
    for _ in range(3):
        complaints.let_rest(WHERE, UNREADABLE, 7, BATCH)
        clock.advance(30)
    complaints.forget_partitions()
    assert not complaints.rests(WHERE)
    assert complaints.current() is None
    assert complaints.tries.given_up() == {}


class Fetches:
    """A broker answered well at `at`, with records or without."""

    def __init__(self, at: int | None, *, data: bool) -> None:
        self._at, self._data = at, data

    def answered(self, where: TopicPartition) -> int | None:
        return self._at

    def has_data(self, where: TopicPartition) -> bool:
        return self._data


@pytest.mark.parametrize("problem", Problem)
@pytest.mark.parametrize("before", [None, 7])
@pytest.mark.parametrize("data", [True, False])
def test_a_complaint_ends_with_a_fetch_that_is_answered_well_though_nothing_is_read(
    complaints: Complaints, problem: Problem, before: int | None, data: bool
) -> None:
    """What a broker refused is past with its answer; what is damaged, once it is not there any more."""
    why = Explanation(problem, "orders/1 at 7")
    complaints.let_rest(WHERE, why, before)
    complaints.hear_of_fetches(Fetches(before, data=data))
    assert complaints.current() is why, "nothing was answered yet"
    complaints.hear_of_fetches(Fetches(8, data=data))
    over = why.refused or not data
    assert (complaints.current() is None) is over
    assert complaints.rests(WHERE) is not over


def test_a_partition_that_a_broker_leaves_out_for_once_does_not_begin_a_minute_anew(
    complaints: Complaints, clock: ManualClock
) -> None:
    """An answer that is full holds nothing of some partitions: their batches are as unreadable as before."""
    for times in range(3):
        complaints.let_rest(WHERE, UNREADABLE, times, BATCH)
        complaints.hear_of_fetches(Fetches(times + 100, data=False))
        assert complaints.current() is None
        clock.advance(30)
    assert complaints.tries.given_up() == {WHERE: BATCH._replace(tries=3)}
    complaints.is_read(WHERE)
    assert complaints.tries.given_up() == {}


def test_what_a_broker_refuses_is_no_try_to_read_a_batch(complaints: Complaints, clock: ManualClock) -> None:
    for _ in range(5):
        complaints.let_rest(WHERE, Explanation(Problem.NOT_AUTHORIZED, "orders/1 at 7"), None)
        clock.advance(60)
    assert complaints.tries.given_up() == {}
