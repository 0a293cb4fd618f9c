"""Each way to fail has its code, and its sentence."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi import errors
from convex_messaging_fastapi.cli.exits import Ended, ExitCode, code_of
from convex_messaging_fastapi.status import REFUSALS, Problem


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Ended(ExitCode.NOT_FOUND, "no such letter"), 5),
        (errors.ConfigurationError("two things"), 2),
        (errors.DeclarationError("a handler"), 2),
        (errors.EncodeError("NaN"), 2),
        (errors.TransportError("no answer"), 3),
        (errors.TransportError("wrong password", "auth_failed"), 4),
        (errors.TransportError("no such topic", "topic_missing"), 5),
        (errors.PublishFailed("no broker"), 3),
        (errors.PublishUnknown("no answer"), 3),
        (errors.MessageTooLarge("11 MiB"), 4),
        (ZeroDivisionError("a defect"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_the_code_of_an_error(error: Exception, code: int) -> None:
    assert code_of(error) == code


@pytest.mark.parametrize(("problem", "code"), [("auth_failed", 4), ("not_authorized", 4), ("", 3)])
@pytest.mark.parametrize(
    "error", [errors.LettersUnavailable("no letters"), errors.ReplayRefused("states_unreadable", "no states")]
)
def test_what_the_cluster_said_first_decides(error: Exception, problem: str, code: int) -> None:
    """An error of ours tells no word of the cluster's, and the one that caused it does."""
    error.__cause__ = errors.LettersUnavailable("no states")
    error.__cause__.__cause__ = errors.TransportError("what it said", problem)
    assert code_of(error) == code


def test_a_rule_of_ours_refuses() -> None:
    assert code_of(errors.ReplayRefused("no_group", "the cluster knows no such group")) == 4


@pytest.mark.parametrize("problem", Problem)
def test_a_refusal_has_another_code_than_an_outage(problem: Problem) -> None:
    told = code_of(errors.TransportError("...", problem.value))
    if problem is Problem.TOPIC_MISSING:
        assert told is ExitCode.NOT_FOUND
    else:
        assert told is (ExitCode.REFUSED if problem in REFUSALS else ExitCode.AWAY)
