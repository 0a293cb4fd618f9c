"""Errors know whether trying again may help, and signals refuse what they cannot mean."""

from __future__ import annotations

from typing import Any

import pytest

from convex_messaging_fastapi import (
    BatchFailed,
    EncodeError,
    MessageTooLarge,
    PublishFailed,
    PublishManyError,
    PublishUnknown,
    RetryAfter,
)

FAILED, LARGE, UNKNOWN = PublishFailed("no"), MessageTooLarge("no"), PublishUnknown("perhaps")


@pytest.mark.parametrize(
    ("failed", "unknown", "may_retry"),
    [
        ({0: FAILED}, {}, True),
        ({}, {0: UNKNOWN}, True),
        ({0: FAILED}, {1: UNKNOWN}, True),
        ({0: LARGE}, {}, False),
        ({0: LARGE, 1: LARGE}, {}, False),
        ({0: LARGE, 1: FAILED}, {}, False),
        ({0: LARGE}, {1: UNKNOWN}, False),
        ({0: EncodeError("no"), 1: FAILED}, {}, False),
        ({0: ValueError("a library's own")}, {}, False),
    ],
)
def test_many_may_be_tried_again_if_each_of_those_that_failed_may(
    failed: dict[int, Exception], unknown: dict[int, PublishUnknown], may_retry: bool
) -> None:
    error = PublishManyError([None, None], failed, unknown)
    assert error.may_retry is may_retry
    assert isinstance(error.may_retry, bool)


@pytest.mark.parametrize("seconds", [-1, 301, "3", None, [3], float("nan")])
def test_a_time_that_is_none_is_refused_by_a_sentence(seconds: Any) -> None:
    with pytest.raises(ValueError, match="RetryAfter takes 0 to 300 seconds, not "):
        RetryAfter(seconds)


@pytest.mark.parametrize("index", [-1, "1", None, 1.0])
def test_an_index_that_is_none_is_refused_by_a_sentence(index: Any) -> None:
    with pytest.raises(ValueError, match="BatchFailed takes the index of the first member that failed, not "):
        BatchFailed(index)
