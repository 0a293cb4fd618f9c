"""When an outage is believed, and how its end is found out: tables, and whatever else may happen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from convex_messaging_fastapi.consuming.circuit import FEWEST_LANES, Circuit
from convex_messaging_fastapi.policies import MAX_BREAKER_WAIT_SECONDS, Breaker

Began = Literal["before", "probe", "late"]
"""When an attempt began: before the circuit opened, as the one that is tried, or as one that was."""

USUAL = Breaker(share=0.9, of=20, wait_seconds=30)


class Told:
    """A circuit that is told of one attempt after another, each of another message of its lane."""

    def __init__(self, policy: Breaker = USUAL) -> None:
        self.circuit = Circuit(policy)
        self.now = 0.0
        self._messages = 0

    def good(self, lane: object) -> None:
        self.circuit.begin(lane)
        self._messages += 1
        self.circuit.succeeded(lane, self._messages, self.now)
        self.circuit.ended(lane)

    def bad(self, lane: object, message: object = None, lanes: int = 100) -> None:
        self.circuit.begin(lane)
        self._messages += 1
        self.circuit.failed(lane, message or self._messages, self.now, lanes)
        self.circuit.ended(lane)

    def all(self, lanes: Iterable[object], *, bad: bool) -> None:
        for lane in lanes:
            (self.bad if bad else self.good)(lane)

    def opened(self) -> Circuit:
        self.all(range(20), bad=True)
        assert self.circuit.is_open
        return self.circuit


@pytest.mark.parametrize(
    ("good", "bad", "lanes", "opens"),
    [
        (0, 20, 100, True),
        (2, 18, 100, True),
        (3, 17, 100, False),
        (0, 19, 100, False),  # too few to tell
        (0, 19, 19, True),  # but no more are there
        (0, 3, 3, True),
        (0, 3, 1, True),
        (0, 2, 2, False),
        (1, 2, 3, False),
        (50, 18, 100, True),  # the latest count
    ],
)
def test_it_opens_once_so_large_a_share_of_the_latest_messages_has_failed(
    good: int, bad: int, lanes: int, opens: bool
) -> None:
    told = Told()
    told.all(range(good), bad=False)
    for n in range(bad):
        assert not told.circuit.is_open
        told.bad(("bad", n), lanes=lanes)
    assert told.circuit.is_open is opens


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_poisoned_key_or_two_never_open_it(lanes: int) -> None:
    told = Told()
    for n in range(1000):
        told.bad(n % lanes, lanes=lanes)
        assert told.circuit.may_give_up(n % lanes, told.now)
        told.now += 1
    assert not told.circuit.is_open


def test_a_message_that_fails_again_and_again_counts_as_one() -> None:
    told = Told()
    for _ in range(50):
        for lane in range(19):
            told.bad(lane, message=("the same of", lane))
    assert not told.circuit.is_open


def test_the_last_attempt_of_a_message_is_the_one_that_counts() -> None:
    told = Told()
    for lane in range(19):
        told.bad(lane, message=("first", lane))
    for lane in range(19):
        told.circuit.begin(lane)
        told.circuit.succeeded(lane, ("first", lane), told.now)
    told.bad("another")
    assert not told.circuit.is_open


@pytest.mark.parametrize(("seconds", "opens"), [(119, True), (121, False)])
def test_what_is_long_ago_tells_nothing(seconds: float, opens: bool) -> None:
    told = Told()
    told.all(range(19), bad=True)
    told.now += seconds
    told.bad("late")
    assert told.circuit.is_open is opens


@pytest.mark.parametrize(
    ("lanes_failing", "good_meanwhile", "opens"),
    [(3, False, True), (5, False, True), (2, False, False), (3, True, False), (5, True, False)],
)
def test_a_message_is_not_given_up_while_nothing_has_succeeded_since_it_first_failed(
    lanes_failing: int, good_meanwhile: bool, opens: bool
) -> None:
    told = Told()
    told.all(range(100, 120), bad=False)
    told.all(range(lanes_failing), bad=True)
    if good_meanwhile:
        told.good("healthy")

    assert told.circuit.may_give_up(0, told.now) is not opens
    assert told.circuit.is_open is opens


def test_an_attempt_that_began_before_the_outage_says_nothing_of_it() -> None:
    told = Told()
    told.circuit.begin("slow")
    told.all(range(3), bad=True)
    told.circuit.succeeded("slow", "before", told.now)

    assert not told.circuit.may_give_up(0, told.now)


def test_first_failure_is_that_of_the_message_and_not_of_its_lane() -> None:
    told = Told()
    told.all(range(3), bad=True)
    told.good("healthy")
    told.bad(0, message="the next of this lane")

    assert not told.circuit.may_give_up(0, told.now)


def test_what_has_left_fails_no_longer() -> None:
    told = Told()
    told.all(range(3), bad=True)
    told.circuit.forget([1])

    assert told.circuit.may_give_up(0, told.now)


def test_one_message_is_tried_after_the_wait_and_success_closes_it() -> None:
    told = Told()
    circuit = told.opened()
    assert not circuit.may_begin(29.9)
    assert circuit.may_begin(30)

    circuit.begin("next")
    assert not circuit.may_begin(1000)
    circuit.succeeded("next", "message", 31)

    assert not circuit.is_open
    assert circuit.may_begin(31)


def test_each_failure_doubles_the_wait_to_five_minutes() -> None:
    told, waits = Told(), list[float]()
    circuit = told.opened()
    for n in range(6):
        waits.append(circuit.tries_at - told.now)
        told.now = circuit.tries_at
        told.bad(("probe", n))
    assert waits == [30, 60, 120, 240, 300, 300]
    assert circuit.failed_probes == 6


def test_what_tells_nothing_lets_the_next_be_tried_at_once() -> None:
    told = Told()
    circuit = told.opened()
    circuit.begin("rejected")
    circuit.ended("rejected")
    assert circuit.is_open
    assert circuit.may_begin(30)


@pytest.mark.parametrize("ends_well", [True, False])
def test_one_that_hangs_is_as_one_that_failed_until_it_ends_well(ends_well: bool) -> None:
    told = Told()
    circuit = told.opened()
    circuit.begin("hangs")
    assert circuit.late(60)
    assert not circuit.late(60)
    assert (circuit.tries_at, circuit.failed_probes) == (120, 1)
    assert not circuit.may_begin(119)
    assert circuit.may_begin(120)

    circuit.begin("next")
    if ends_well:
        circuit.succeeded("hangs", "message", 121)
    else:
        circuit.failed("hangs", "message", 121, 100)
    circuit.ended("hangs")
    assert circuit.is_open is not ends_well
    assert circuit.may_begin(121) is ends_well
    assert circuit.failed_probes == 1


@pytest.mark.parametrize("ends_well", [True, False])
def test_attempts_that_began_before_it_opened_change_nothing(ends_well: bool) -> None:
    told = Told()
    told.circuit.begin("slow")
    circuit = told.opened()
    if ends_well:
        circuit.succeeded("slow", "message", 5)
    else:
        circuit.failed("slow", "message", 5, 100)
        assert not circuit.may_give_up("slow", 5)
    circuit.ended("slow")

    assert (circuit.is_open, circuit.tries_at, circuit.failed_probes) == (True, 30, 0)


def test_after_it_has_closed_nothing_of_before_is_held_against_messages() -> None:
    told = Told()
    circuit = told.opened()
    told.now = 30
    told.good("probe")
    told.all(range(17), bad=True)
    assert not circuit.is_open
    told.all(range(17, 20), bad=True)
    assert circuit.is_open
    assert circuit.tries_at == 60


class Histories(RuleBasedStateMachine):
    """Whatever is told in whatever order: what a circuit promises at every moment."""

    @initialize(
        share=strategies.sampled_from([0.5, 0.9, 1.0]),
        of=strategies.integers(3, 8),
        wait=strategies.sampled_from([1.0, 30.0, 300.0]),
    )
    def begin(self, share: float, of: int, wait: float) -> None:
        self.policy = Breaker(share=share, of=of, wait_seconds=wait)
        self.circuit = Circuit(self.policy)
        self.now = 0.0
        self.under_way: dict[int, Began] = {}  # by their lanes
        self.attempt = dict.fromkeys(range(6), 0)  # the message at the head of each lane
        self.failing: set[int] = set()
        self.failed_lately: set[int] = set()

    def end(self, lane: int) -> None:
        del self.under_way[lane]
        self.circuit.ended(lane)

    @rule(lane=strategies.integers(0, 5))
    def an_attempt_begins(self, lane: int) -> None:
        if lane not in self.under_way and self.circuit.may_begin(self.now):
            self.under_way[lane] = "probe" if self.circuit.is_open else "before"
            self.circuit.begin(lane)

    @precondition(lambda self: self.under_way)
    @rule(data=strategies.data())
    def one_succeeds(self, data: strategies.DataObject) -> None:
        lane = data.draw(strategies.sampled_from(sorted(self.under_way)))
        was_open, is_tried = self.circuit.is_open, self.under_way[lane] != "before"
        self.circuit.succeeded(lane, (lane, self.attempt[lane]), self.now)
        self.end(lane)
        self.attempt[lane] += 1
        assert self.circuit.is_open is (was_open and not is_tried)
        self.failing.discard(lane)
        if was_open and is_tried:
            self.nothing_is_tried()
            self.forget_all()

    @precondition(lambda self: self.under_way)
    @rule(data=strategies.data(), is_last=strategies.booleans())
    def one_fails(self, data: strategies.DataObject, is_last: bool) -> None:
        lane = data.draw(strategies.sampled_from(sorted(self.under_way)))
        was_open, is_probe = self.circuit.is_open, self.under_way[lane] == "probe"
        waited = self.circuit.wait_seconds
        self.circuit.failed(lane, (lane, self.attempt[lane]), self.now, len(self.attempt))
        if not was_open:
            self.failing.add(lane)
            self.failed_lately.add(lane)
        if is_last and self.circuit.may_give_up(lane, self.now):
            assert not self.circuit.is_open, "nothing is given up while it is open"
            self.circuit.forget([lane])
            self.failing.discard(lane)
            self.attempt[lane] += 1
        self.end(lane)
        if was_open:
            assert self.circuit.is_open, "no failure closes it"
            doubled = min(2 * (waited or 0), MAX_BREAKER_WAIT_SECONDS)
            assert self.circuit.wait_seconds == (doubled if is_probe else waited)
        elif self.circuit.is_open:
            assert len(self.failed_lately) >= FEWEST_LANES, "one poisoned key, or two, open nothing"
            assert self.circuit.tries_at == self.now + self.policy.wait_seconds
            self.nothing_is_tried()
            self.forget_all()

    @precondition(lambda self: self.under_way)
    @rule(data=strategies.data())
    def one_tells_nothing(self, data: strategies.DataObject) -> None:
        lane = data.draw(strategies.sampled_from(sorted(self.under_way)))
        was_open, is_probe = self.circuit.is_open, self.under_way[lane] == "probe"
        self.circuit.forget([lane])
        self.end(lane)
        self.failing.discard(lane)
        self.attempt[lane] += 1
        assert self.circuit.is_open is was_open
        assert not (was_open and is_probe) or self.circuit.may_begin(self.now)

    @rule(seconds=strategies.sampled_from([0.1, 1.0, 30.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def it_is_closed_by_hand(self) -> None:
        self.circuit.close()
        self.nothing_is_tried()
        self.forget_all()

    @rule()
    def one_takes_long(self) -> None:
        probes = [lane for lane, began in self.under_way.items() if began == "probe"]
        assert self.circuit.late(self.now) is bool(probes)
        self.under_way.update(dict.fromkeys(probes, "late"))

    def nothing_is_tried(self) -> None:
        self.under_way = dict.fromkeys(self.under_way, "before")

    def forget_all(self) -> None:
        self.failing.clear()
        self.failed_lately.clear()

    @invariant()
    def one_at_most_is_tried(self) -> None:
        probes = list(self.under_way.values()).count("probe")
        assert probes <= 1
        assert not (self.circuit.is_open and probes and self.circuit.may_begin(float("inf")))

    @invariant()
    def the_wait_is_bounded_so_that_one_can_always_be_tried_some_time(self) -> None:
        if self.circuit.is_open:
            assert 0 < (self.circuit.wait_seconds or 0) <= MAX_BREAKER_WAIT_SECONDS
            assert self.circuit.tries_at <= self.now + MAX_BREAKER_WAIT_SECONDS

    def teardown(self) -> None:
        if hasattr(self, "circuit"):
            for lane in list(self.under_way):
                self.end(lane)
            assert self.circuit.may_begin(self.now + MAX_BREAKER_WAIT_SECONDS), "it never stays shut"


Histories.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestHistories = Histories.TestCase
