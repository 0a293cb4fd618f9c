"""What a failure means is decided by policy alone, the same way every time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi import errors
from convex_messaging_fastapi.consuming.retry import Discarded, GiveUp, TryAgain, backoff, decide
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


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"attempts": 0}, "attempts is 1 or more"),
        ({"delay_seconds": -1}, "delay_seconds is 0 or more"),
        ({"multiplier": 0.5}, "back-off never shrinks"),
        ({"delay_seconds": 400}, "at least delay_seconds"),
        ({"jitter": 2}, "share from 0 to 1"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(choice: dict[str, float], sentence: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=sentence):
        Retry(**choice)  # type: ignore[arg-type]
