"""The usual ending: a dead letter, and until it is written the partition waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.holds import Hold
from convex_messaging_fastapi.consuming.outcome import JobHold, Outcome, Tally
from convex_messaging_fastapi.consuming.retry import backoff
from convex_messaging_fastapi.errors import PublishError, TransportError
from convex_messaging_fastapi.events import Buried
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.policies import Retry
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Record

DLQ_UNAVAILABLE = "dlq_unavailable"
NO_DEAD_LETTER = Hold(DLQ_UNAVAILABLE)

BURIAL_RETRY = Retry(attempts=None, delay_seconds=1.0, max_delay_seconds=5.0)
"""Readiness says 503 until the dead letter is written, so the next try after an outage comes soon."""


class DeadLetters(Protocol):
    """Where failed messages are buried."""

    async def bury(self, record: Record, failure: Failure) -> Receipt:
        """Return once the cluster has acknowledged the dead letter; else raise `PublishError`."""
        ...


class BuryEnding:
    """Has a dead letter written about each message."""

    def __init__(
        self,
        dead_letters: DeadLetters,
        topic: str,
        tally: Tally,
        random: Callable[[], float],
        observers: Observers = ONLY_THE_LOG,
    ) -> None:
        self._observers = observers
        self._begins = observers.burying
        self._topic = topic
        self._dead_letters = dead_letters
        self._tally = tally
        self._random = random

    async def end(self, job: Job) -> Outcome:
        try:
            receipt = await self._bury(job.record, job.cause)
        except (PublishError, TransportError) as error:
            # Promise 10: the record stays unfinished, and its partition waits for the dead letter.
            job.burials += 1
            delay = backoff(BURIAL_RETRY, job.burials, self._random())
            if job.burials == 1:
                reports.cannot_bury(job.record, job.cause, error, delay)
            return Outcome(again=(job,), delay=delay, hold=JobHold(job, NO_DEAD_LETTER))
        self._tally.buried += 1
        self._observers.buried(Buried(job.record, job.cause, receipt, job.burials))
        return Outcome(finished=(job,))

    async def _bury(self, record: Record, failure: Failure) -> Receipt:
        begins = self._begins
        end = None if begins is None else begins(self._topic, record, failure)
        if end is None:
            return await self._dead_letters.bury(record, failure)
        try:
            receipt = await self._dead_letters.bury(record, failure)
        except BaseException as error:
            end((), error)
            raise
        end((receipt,), None)
        return receipt
