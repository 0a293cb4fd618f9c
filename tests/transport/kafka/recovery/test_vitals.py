"""What follows from a look at an engine, and how long its successor waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convex_messaging_fastapi.transport.base import Problem
from convex_messaging_fastapi.transport.kafka.recovery.backoff import Backoff
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import Explanation
from convex_messaging_fastapi.transport.kafka.recovery.vitals import Step, Vitals
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

TUNING = Tuning(
    explain_after_seconds=6,
    replace_after_seconds=15,
    retry_seconds=1,
    retry_cap_seconds=4,
    refused_retry_seconds=2,
    refused_cap_seconds=15,
    lived_long_seconds=30,
)
NOW = 100.0
WRONG = Explanation(Problem.AUTHENTICATION_FAILED, "wrong")
LIKELY_WRONG = WRONG._replace(certain=False)
AWAY = LIKELY_WRONG._replace(problem=Problem.BROKER_UNREACHABLE)
ASTRAY = Explanation(Problem.BROKER_UNREACHABLE, "sent where nobody is")


@pytest.mark.parametrize(
    ("silence", "refused", "reached_ago", "asked_ago", "step"),
    [
        (0, False, None, None, Step.FINE),
        (6, False, None, None, Step.FINE),
        (6, False, 99, 0, Step.FINE),
        (7, False, None, None, Step.ASK),
        (0, True, None, None, Step.ASK),
        (7, False, None, 4, Step.WAIT),
        (7, False, None, 5, Step.ASK),
        (7, False, 15, 5, Step.ASK),
        (7, False, 16, 0, Step.REPLACE),
        (0, True, 16, 0, Step.REPLACE),
    ],
)
def test_what_a_look_leads_to(
    silence: float, refused: bool, reached_ago: float | None, asked_ago: float | None, step: Step
) -> None:
    vitals = Vitals().heard(NOW, silence)
    if reached_ago is not None:
        vitals = vitals.reached(NOW - reached_ago)
    if asked_ago is not None:
        vitals = vitals.asked(NOW - asked_ago)
    assert vitals.step(NOW, TUNING, refused=refused) is step


def test_the_last_answer_is_never_an_earlier_one_than_before() -> None:
    first = Vitals().heard(NOW, 1)
    assert [first.heard(NOW, silence).heard_at for silence in (None, 3, 0)] == [99, 99, 100]


@pytest.mark.parametrize(
    ("before", "answer", "told"),
    [
        (Vitals(), LIKELY_WRONG, LIKELY_WRONG),
        (Vitals().heard(NOW, 0), LIKELY_WRONG, AWAY),
        (Vitals().heard(NOW, 0), WRONG, WRONG),
    ],
)
def test_whoever_was_let_in_before_is_not_kept_out_by_a_setting(
    before: Vitals, answer: Explanation, told: Explanation
) -> None:
    assert before.unreachable(answer).why == told


@pytest.mark.parametrize(
    ("start", "why"),
    [(Vitals(), None), (Vitals().led_astray(ASTRAY), ASTRAY), (Vitals().failed(WRONG), None)],
)
def test_one_that_was_led_astray_while_it_started_is_not_well_yet(
    start: Vitals, why: Explanation | None
) -> None:
    assert start.started().why is why
    assert start.started().fine() == replace(start, why=None, astray=None)


def test_contact_tells_of_a_replacement() -> None:
    contact = Vitals().heard(NOW, 0).replaced(WRONG).contact(member=True, alive=True)
    assert (contact.last, contact.problem, contact.detail, contact.rebuilds) == (
        NOW,
        WRONG.problem,
        "wrong",
        1,
    )


@pytest.mark.parametrize(
    ("failures", "refused", "longest"),
    [(0, False, 0), (0, True, 0), (1, False, 1), (2, False, 2), (9, False, 4), (1, True, 2), (9, True, 15)],
)
def test_the_pause_doubles_up_to_a_cap_and_a_refusal_waits_longer(
    failures: int, refused: bool, longest: float
) -> None:
    backoff = Backoff(TUNING)
    for _ in range(failures):
        backoff.failed()
    assert longest * 0.8 <= backoff.pause(refused=refused) <= longest


@pytest.mark.parametrize(
    ("seconds", "forgiven", "pauses"), [(1, False, True), (31, False, False), (1, True, False)]
)
def test_one_that_lived_long_or_ended_without_fault_is_followed_at_once(
    seconds: float, forgiven: bool, pauses: bool
) -> None:
    backoff = Backoff(TUNING)
    backoff.failed()
    if forgiven:
        backoff.forgive()
    backoff.lived(seconds)
    assert (backoff.pause(refused=False) > 0) is pauses
    backoff.lived(1)
    assert backoff.pause(refused=False) > 0
