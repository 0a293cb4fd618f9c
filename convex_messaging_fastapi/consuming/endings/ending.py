"""The seam behind the last attempt: what dispatch asks once a message has failed for good."""

from __future__ import annotations

from typing import Protocol

from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.outcome import Outcome


class Ending(Protocol):
    """What becomes of messages whose attempts are spent."""

    async def end(self, job: Job) -> Outcome:
        """End this job, or say when to try to end it again; `job.cause` says why it is to end.

        A job returned in `again` comes here again, without another attempt. Anything raised here is a
        defect: the job stays unfinished, and its subscription counts as failed.
        """
        ...
