"""What becomes of a message that has failed for good: each ending by itself, and the choice among them."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.calling import CallContext, compile_call
from convex_messaging_fastapi.consuming.dispatch import Dispatch, HandlerConfig
from convex_messaging_fastapi.consuming.endings import ending_for
from convex_messaging_fastapi.consuming.endings.bury import BURIAL_RETRY, DLQ_UNAVAILABLE
from convex_messaging_fastapi.consuming.endings.hold import DEAD_LETTER_HELD
from convex_messaging_fastapi.consuming.holds import Hold, Holds
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.consuming.outcome import JobHold, Outcome, Tally
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.errors import PublishFailed, TopicUnavailable
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.policies import DeadLetterPolicy, Retry
from convex_messaging_fastapi.records import Lease, Record, TopicPartition
from tests.consuming.support import LETTERS, TOPIC, Graveyard

FAILURE = Failure("app.PaymentFailed", "card refused", "", 3, "g", "h")
ENDED = "ended"
"""A reason that is none: the message is finished."""


def job_of(topic: str, failure: Failure | None = FAILURE) -> Job:
    owned = OwnedPartition(TopicPartition(topic, 0), Lease(1), Ledger(0, 10), Holds(lambda: 0.0))
    job = Job(Record(topic, 0, 0, 0, None, b"{}"), owned, 2)
    job.failure = failure
    return job


@pytest.mark.parametrize(
    ("policy", "topic", "reason", "counted"),
    [
        ("bury", TOPIC, ENDED, "buried"),
        ("bury", LETTERS, DEAD_LETTER_HELD, None),
        ("hold", TOPIC, DEAD_LETTER_HELD, None),
        ("hold", LETTERS, DEAD_LETTER_HELD, None),
        ("discard", TOPIC, ENDED, "discarded"),
        ("discard", LETTERS, ENDED, "discarded"),
    ],
)
async def test_a_message_ends_as_its_subscriber_wants_and_a_letter_is_never_buried(
    policy: DeadLetterPolicy, topic: str, reason: str, counted: str | None
) -> None:
    graveyard, tally, job = Graveyard(), Tally(), job_of(topic)

    outcome = await ending_for(policy, graveyard, LETTERS, tally, lambda: 0.0).end(job)

    if reason == ENDED:
        assert outcome == Outcome(finished=(job,))
    else:
        assert outcome == Outcome(again=(job,), delay=None, hold=JobHold(job, Hold(reason)))
    assert graveyard.buried == ([(job.record, FAILURE)] if counted == "buried" else [])
    assert {name: getattr(tally, name) for name in ("buried", "discarded")} == {
        "buried": int(counted == "buried"),
        "discarded": int(counted == "discarded"),
    }


def test_every_policy_has_its_ending() -> None:
    for policy in get_args(DeadLetterPolicy):
        assert ending_for(policy, Graveyard(), LETTERS, Tally(), lambda: 0.0) is not None


@pytest.mark.parametrize("refusal", [PublishFailed("no"), TopicUnavailable("no")])
async def test_a_message_that_cannot_be_buried_is_unfinished_and_its_partition_waits_ever_longer(
    refusal: Exception,
) -> None:
    graveyard, tally, job = Graveyard(), Tally(), job_of(TOPIC)
    graveyard.refuses = refusal
    ending = ending_for("bury", graveyard, LETTERS, tally, lambda: 0.0)

    outcomes = [await ending.end(job) for _ in range(5)]

    assert [outcome.delay for outcome in outcomes] == [1.0, 2.0, 4.0, 5.0, BURIAL_RETRY.max_delay_seconds]
    assert {outcome.hold for outcome in outcomes} == {JobHold(job, Hold(DLQ_UNAVAILABLE))}
    assert not [outcome for outcome in outcomes if outcome.finished or list(outcome.again) != [job]]
    assert tally.buried == 0
    graveyard.refuses = None
    assert await ending.end(job) == Outcome(finished=(job,))
    assert tally.buried == 1


class Forwarding:
    """An ending of somebody else's: it takes nothing but a job."""

    def __init__(self) -> None:
        self.ended: list[tuple[Job, Failure]] = []

    async def end(self, job: Job) -> Outcome:
        self.ended.append((job, job.cause))
        return Outcome(finished=(job,))


@pytest.mark.parametrize("is_batch", [False, True])
async def test_dispatch_asks_any_ending_once_attempts_are_spent_and_not_before(is_batch: bool) -> None:
    async def fails(messages: Any) -> None:
        raise ValueError("card refused")

    async def fails_together(messages: list[Any]) -> None:
        raise ValueError("card refused")

    ending, threads = Forwarding(), HandlerThreads(1)
    config = HandlerConfig(
        plan=compile_call(fails_together if is_batch else fails, batch=is_batch),
        group="g",
        handler="h",
        retry=Retry(attempts=2, delay_seconds=10, jitter=0),
        timeout=None,
        is_batch=is_batch,
    )
    call_context = CallContext(app=None, state={}, threads=threads)
    dispatch = Dispatch(config, call_context, ending, Tally(), ManualClock(), lambda: 0.0)
    job = job_of(TOPIC, failure=None)

    first = await dispatch.handle([job])
    ended_by_then = list(ending.ended)
    second = await dispatch.handle([job])

    assert (again(first), finished(first)) == ([job], [])
    assert ended_by_then == []
    assert (again(second), finished(second)) == ([], [job])
    ((ended, cause),) = ending.ended
    assert (ended, cause.text, cause.attempts) == (job, "card refused", 2)


def finished(outcome: Outcome | None) -> list[Job]:
    assert outcome is not None
    return list(outcome.finished)


def again(outcome: Outcome | None) -> list[Job]:
    assert outcome is not None
    return list(outcome.again)
