"""The ending that keeps the message: its partition waits until somebody mends what is wrong."""

from __future__ import annotations

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.holds import Hold
from convex_messaging_fastapi.consuming.outcome import JobHold, Outcome

DEAD_LETTER_HELD = "dead_letter_held"
_FOR_GOOD = Hold(DEAD_LETTER_HELD)


class HoldEnding:
    """Holds each message while this process owns its partition."""

    async def end(self, job: Job) -> Outcome:
        if job not in job.owned.holds.owners:
            reports.held(job.record, job.cause)
        return Outcome(again=(job,), delay=None, hold=JobHold(job, _FOR_GOOD))
