"""What a failure means is decided by policy alone, the same way every time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi import errors
from convex_messaging_fastapi.consuming.retry import (
    Discarded,
    GiveUp,
    TryAgain,
    backoff,
    decide,
    members_done,
)
from convex_messaging_fastapi.failures import leaves
from convex_messaging_fastapi.policies import Retry

PLAIN = Retry(attempts=3, delay_seconds=5, jitter=0)


def test_back_off_doubles_up_to_its_cap() -> None:
    policy = Retry(attempts=None, delay_seconds=5, multiplier=2, max_delay_seconds=30, jitter=0)

    assert [backoff(policy, attempt, 0.5) for attempt in (1, 2, 3, 4, 5)] == [5, 10, 20, 30, 30]


def test_back_off_stays_at_its_cap_where_no_float_can_count_any_more() -> None:
    policy = Retry(attempts=None, multiplier=1e300, max_delay_seconds=60, jitter=0)

    assert backoff(policy, 10_000, 0) == 60


@given(attempt=st.integers(1, 2000), random=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 1))
def test_jitter_only_ever_shortens_a_wait(attempt: int, random: float, jitter: float) -> None:
    policy = Retry(attempts=None, delay_seconds=5, jitter=jitter)
    plain = backoff(Retry(attempts=None, delay_seconds=5, jitter=0), attempt, random)

    assert plain * (1 - jitter) <= backoff(policy, attempt, random) <= plain


def test_three_attempts_mean_three_tries_in_all() -> None:
    error = RuntimeError("database away")

    decisions = [decide(PLAIN, error, attempt, 0) for attempt in (1, 2, 3)]

    assert decisions == [TryAgain(5), TryAgain(10), GiveUp()]


def test_attempts_of_none_never_give_up() -> None:
    assert isinstance(decide(Retry(attempts=None), RuntimeError(), 10**6, 0), TryAgain)


@pytest.mark.parametrize(
    "error",
    [
        errors.DecodeError("not JSON"),
        errors.Reject("unknown customer"),
        errors.DeclarationError("no such dependency"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_certain_to_fail_again_is_never_tried_again(error: Exception) -> None:
    assert decide(Retry(attempts=None), error, 1, 0) == GiveUp()


def test_discard_is_done_on_the_first_try() -> None:
    assert decide(PLAIN, errors.Discard("duplicate"), 1, 0) == Discarded()


def test_retry_after_waits_as_long_as_the_handler_said_but_counts_as_an_attempt() -> None:
    assert decide(PLAIN, errors.RetryAfter(90), 1, 0) == TryAgain(90)
    assert decide(PLAIN, errors.RetryAfter(90), 3, 0) == GiveUp()


def test_retry_after_is_bounded() -> None:
    with pytest.raises(ValueError, match="0 to 300 seconds"):
        errors.RetryAfter(301)


def test_only_and_never_choose_by_the_kind_of_exception() -> None:
    policy = Retry(only=(OSError,), never=(FileNotFoundError,), jitter=0)

    assert isinstance(decide(policy, ConnectionError(), 1, 0), TryAgain)
    assert decide(policy, FileNotFoundError(), 1, 0) == GiveUp()
    assert decide(policy, KeyError("a bug"), 1, 0) == GiveUp()


class Panic(BaseException):
    """As libraries in Rust raise it: no `Exception`."""


ERROR, OTHER, PANIC = KeyError("a bug"), ConnectionError("away"), Panic("index out of range")
REJECT, DISCARD, BATCH = errors.Reject("no"), errors.Discard("seen"), errors.BatchFailed(2)
SOON, LATER = errors.RetryAfter(10), errors.RetryAfter(90)
BACKOFF = TryAgain(5)


def group(*held: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("several", held)


@pytest.mark.parametrize(
    ("held", "decision"),
    [
        ((DISCARD,), Discarded()),
        ((DISCARD, errors.Discard("both")), Discarded()),
        ((REJECT,), GiveUp()),
        ((REJECT, errors.Reject("both")), GiveUp()),
        ((SOON,), TryAgain(10)),
        ((SOON, LATER, errors.RetryAfter(50)), TryAgain(90)),
        ((BATCH,), BACKOFF),
        # the errors decide
        ((ERROR,), BACKOFF),
        ((PANIC,), BACKOFF),
        ((DISCARD, ERROR), BACKOFF),
        ((REJECT, ERROR), BACKOFF),
        ((LATER, ERROR), BACKOFF),
        ((BATCH, ERROR), BACKOFF),
        ((ERROR, errors.DecodeError("not JSON")), GiveUp()),
        ((DISCARD, errors.DecodeError("not JSON")), GiveUp()),
        # among signals whatever keeps the message safest
        ((DISCARD, REJECT), GiveUp()),
        ((DISCARD, LATER), TryAgain(90)),
        ((DISCARD, BATCH), BACKOFF),
        ((LATER, REJECT), GiveUp()),
        ((BATCH, errors.BatchFailed(3)), BACKOFF),
    ],
    ids=lambda value: "+".join(type(each).__name__ for each in value) if isinstance(value, tuple) else None,
)
@pytest.mark.parametrize("nested", [0, 1, 3, 2000])
def test_a_group_is_judged_by_its_leaves(
    held: tuple[BaseException, ...], decision: object, nested: int
) -> None:
    failure: BaseException = group(*held)
    for _ in range(nested):
        failure = group(failure)

    assert decide(PLAIN, failure, 1, 0) == decision
    assert leaves(failure) == list(held)
    if decision != Discarded():
        assert decide(PLAIN, failure, 3, 0) == GiveUp()


def test_leaves_are_found_wherever_they_lie_and_in_their_order() -> None:
    deep = group(ERROR, group(OTHER, group(SOON)), group(group(LATER), REJECT))

    assert leaves(deep) == [ERROR, OTHER, SOON, LATER, REJECT]
    assert leaves(ERROR) == [ERROR]


@pytest.mark.parametrize(
    ("held", "is_retried"),
    [
        ((OTHER,), True),
        ((OTHER, TimeoutError()), True),
        ((OTHER, ERROR), False),
        ((OTHER, FileNotFoundError()), False),
        ((OTHER, PANIC), False),
        ((DISCARD, OTHER), True),
        ((DISCARD, ERROR), False),
    ],
)
def test_only_needs_every_leaf_and_never_any(held: tuple[BaseException, ...], is_retried: bool) -> None:
    policy = Retry(only=(OSError,), never=(FileNotFoundError,), jitter=0)

    assert decide(policy, group(*held), 1, 0) == (BACKOFF if is_retried else GiveUp())


def test_what_is_no_exception_counts_as_one_where_all_are_meant() -> None:
    assert decide(PLAIN, PANIC, 1, 0) == BACKOFF
    assert decide(Retry(never=(Exception,)), PANIC, 1, 0) == GiveUp()
    assert decide(Retry(only=(OSError,)), PANIC, 1, 0) == GiveUp()


@pytest.mark.parametrize(
    ("failure", "done"),
    [
        (BATCH, 2),
        (group(BATCH), 2),
        (group(group(BATCH)), 2),
        (group(BATCH, BATCH), 0),
        (group(BATCH, ERROR), 0),
    ],
)
def test_only_a_batch_failure_alone_says_what_is_done(failure: BaseException, done: int) -> None:
    assert members_done(failure) == done
