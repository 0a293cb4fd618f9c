"""The job of one action as it goes on, and when its record is due again."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.operations.replaying.choosing import NotReplayed, Terms
from convex_messaging_fastapi.operations.replaying.jobs import HEARTBEAT_SECONDS, Job

_EVERY_SECONDS = 1.0


@dataclass(slots=True)
class Progress:
    """`job` is replaced at every step; whoever shows it reads it here."""

    clock: Clock
    job: Job
    _told_at: float = float("-inf")

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.unix(), UTC)

    def update(self, **fields: Any) -> None:
        self.job = replace(self.job, at=self.now(), **fields)

    def refuse(self, why: NotReplayed, count: int = 1) -> None:
        told = dict(self.job.refused)
        told[why] = told.get(why, 0) + count
        self.update(refused=told)

    @property
    def is_due(self) -> bool:
        """Whether a slice should say how far it has come."""
        return self.clock.now() - self._told_at >= _EVERY_SECONDS

    @property
    def is_silent(self) -> bool:
        """Whether something must be said although nothing has happened, lest others take it for dead."""
        return self.clock.now() - self._told_at >= HEARTBEAT_SECONDS

    def told(self) -> None:
        self._told_at = self.clock.now()


def new_job(
    clock: Clock,
    terms: Terms,
    *,
    by: str,
    filter: Mapping[str, Any],
    rate: float | None,
    **fields: Any,
) -> Job:
    now = datetime.fromtimestamp(clock.unix(), UTC)
    return Job(
        id=str(uuid.uuid4()),
        kind=terms.kind,
        status="planned",
        by=by,
        host=socket.gethostname(),
        started_at=now,
        at=now,
        filter=dict(filter),
        target="topic" if terms.to_topic else "handler",
        rate=rate,
        **fields,
    )
