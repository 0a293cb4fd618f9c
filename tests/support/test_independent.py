"""What no broker that knows has answered is asked again; every other answer is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.support.independent import ASKED_AGAIN, answered


@pytest.mark.parametrize("code", sorted(ASKED_AGAIN))
def test_a_question_that_no_broker_that_knows_has_answered_is_asked_again(code: int) -> None:
    refusals = iter([KafkaError(code), KafkaError(code)])

    assert answered(lambda: _answer(refusals)) == "an answer"


def test_what_is_refused_for_good_is_told_at_once() -> None:
    refusals = iter([KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)])

    with pytest.raises(KafkaException):
        answered(lambda: _answer(refusals))


def _answer(refusals: Iterator[KafkaError]) -> str:
    for refusal in refusals:
        raise KafkaException(refusal)
    return "an answer"
