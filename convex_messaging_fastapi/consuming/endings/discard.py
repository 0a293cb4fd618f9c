"""The ending of messages that nobody needs once they have failed: they count as finished."""

from __future__ import annotations

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.outcome import Outcome, Tally


class DiscardEnding:
    """Finishes each message with a log line and a count."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def end(self, job: Job) -> Outcome:
        self._tally.discarded += 1
        reports.discarded(job.record, job.cause)
        return Outcome(finished=(job,))
