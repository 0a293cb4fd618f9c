"""An action on letters, as everybody sees it, and as the record of the state topic that says so. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, cast, get_args

from convex_messaging_fastapi.messages.notes import note, read_time, told_in, written_time
from convex_messaging_fastapi.messages.validation_errors import one_line
from convex_messaging_fastapi.operations.replaying.choosing import Kind
from convex_messaging_fastapi.records import OutgoingRecord, Record

JobStatus = Literal["planned", "running", "done", "stopped", "failed", "interrupted"]
"""`planned`: a dry run, nothing was written. `stopped`: somebody, or a rule, stopped it between two slices.
`interrupted`: it says that it is running, and has said nothing for 10 s: run the same command again."""

HEARTBEAT_SECONDS = 5.0
SILENT_SECONDS = 10.0
MAX_JOB_BYTES = 256 * 1024
MAX_ERROR = 512
MAX_BY = 64
VERSION = 1

_KEY = re.compile(rb"job/([0-9a-f-]{8,64})")
_KEPT = frozenset({"running", "done", "stopped", "failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A replay, a discard or a reopening: planned, under way or over.

    `selected` letters matched when it began; `done` of them have their state, each with its copy where it
    is a replay; `refused` says how many were left as they are, and why. `groups` are those that failed,
    one after another; `target` is `handler` or `topic`, `topics` where copies go. `failed_again` counts
    copies about which there is a newer letter already, while it was under way. `seen_by` are groups that
    will see a message again which they have handled already (`topic` only). `notes` are sentences that
    whoever decides should read first. `error` says why it stopped.
    Times are in UTC; `rate` is letters a second.
    """

    id: str
    kind: Kind
    status: JobStatus
    by: str
    host: str
    started_at: datetime
    at: datetime
    filter: Mapping[str, Any] = field(default_factory=dict)
    target: str = "handler"
    topics: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    seen_by: tuple[str, ...] = ()
    rate: float | None = None
    selected: int = 0
    done: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    failed_again: int = 0
    notes: tuple[str, ...] = ()
    error: str = ""

    @property
    def is_over(self) -> bool:
        return self.status not in ("planned", "running")


def as_seen(job: Job, now: datetime) -> Job:
    """As whoever reads it now should see it: of one that went silent nobody knows."""
    silent = job.status == "running" and now - job.at > timedelta(seconds=SILENT_SECONDS)
    return replace(job, status="interrupted") if silent else job


def key_of_job(id: str) -> bytes:
    return f"job/{id}".encode()


def record_of_job(job: Job) -> OutgoingRecord:
    value = {
        "Kind": job.kind,
        "Status": job.status,
        "By": one_line(job.by, MAX_BY),
        "Host": one_line(job.host, MAX_BY),
        "StartedAt": written_time(job.started_at),
        "At": written_time(job.at),
        "Filter": dict(job.filter),
        "Target": job.target,
        "Topics": list(job.topics),
        "Groups": list(job.groups),
        "SeenBy": list(job.seen_by),
        "Rate": job.rate,
        "Selected": job.selected,
        "Done": job.done,
        "Refused": dict(job.refused),
        "FailedAgain": job.failed_again,
        "Error": one_line(job.error, MAX_ERROR),
        "V": VERSION,
    }
    return note(key_of_job(job.id), value)


def job_of(record: Record) -> Job | None:
    """What a record of the state topic says about a job, `None` for any other. Whatever is in it, nothing is
    raised."""
    found = _KEY.fullmatch(record.key or b"")
    if found is None or record.value is None:
        return None
    told = told_in(record.value, MAX_JOB_BYTES)
    return _job(found[1].decode(), told) if told.get("V") == VERSION else None


def _job(id: str, told: Mapping[str, Any]) -> Job | None:
    kind, status, started_at, at = (told.get(name) for name in ("Kind", "Status", "StartedAt", "At"))
    if kind not in get_args(Kind) or status not in _KEPT:
        return None
    began, last = read_time(started_at), read_time(at)
    if began is None or last is None:
        return None
    rate = told.get("Rate")
    return Job(
        id=id,
        kind=cast("Kind", kind),
        status=cast("JobStatus", status),
        by=_text(told.get("By")),
        host=_text(told.get("Host")),
        started_at=began,
        at=last,
        filter=_mapping(told.get("Filter")),
        target=_text(told.get("Target")) or "handler",
        topics=_texts(told.get("Topics")),
        groups=_texts(told.get("Groups")),
        seen_by=_texts(told.get("SeenBy")),
        rate=float(rate) if isinstance(rate, int | float) and not isinstance(rate, bool) else None,
        selected=_count(told.get("Selected")),
        done=_count(told.get("Done")),
        refused={name: _count(count) for name, count in _mapping(told.get("Refused")).items()},
        failed_again=_count(told.get("FailedAgain")),
        error=_text(told.get("Error")),
    )


def _text(told: object) -> str:
    return told if isinstance(told, str) else ""


def _texts(told: object) -> tuple[str, ...]:
    return tuple(each for each in told if isinstance(each, str)) if isinstance(told, list) else ()


def _mapping(told: object) -> dict[str, Any]:
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def _count(told: object) -> int:
    return told if isinstance(told, int) and not isinstance(told, bool) and told >= 0 else 0
