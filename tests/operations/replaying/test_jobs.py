"""Jobs as records of the state topic, and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from convex_messaging_fastapi.operations.replaying.jobs import Job, as_seen, job_of, record_of_job
from convex_messaging_fastapi.records import Record

AT = datetime(2026, 11, 30, 20, 15, tzinfo=UTC)
JOB = Job(
    id="0192f3c8-0000-7000-8000-000000000000",
    kind="replay",
    status="running",
    by="ada",
    host="ops-1",
    started_at=AT,
    at=AT + timedelta(seconds=3),
    filter={"topic": "payments"},
    topics=("convex.billing.replay",),
    groups=("billing", "a:b"),
    rate=50.0,
    selected=5000,
    done=1200,
    refused={"too_many_replays": 3},
    failed_again=7,
)


def read(value: bytes | None, key: bytes = b"job/0192f3c8-0000-7000-8000-000000000000") -> Job | None:
    return job_of(Record("convex.dlq.state", 0, 0, 0, key, value))


def test_a_job_is_read_as_it_was_written() -> None:
    written = record_of_job(JOB)
    assert read(written.value, written.key or b"") == JOB


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (None, b"job/0192f3c8"),
        (b"", b"job/0192f3c8"),
        (b"[]", b"job/0192f3c8"),
        (b'{"V":2}', b"job/0192f3c8"),
        (b'{"V":1,"Kind":"replay","Status":"planned"}', b"job/0192f3c8"),
        (b'{"V":1,"Kind":"replay","Status":"done","StartedAt":"x","At":5}', b"job/0192f3c8"),
        (b"x" * 300_000, b"job/0192f3c8"),
        (record_of_job(JOB).value, b"job/../../etc"),
        (record_of_job(JOB).value, b"letter/convex.dlq/0/1"),
        (record_of_job(JOB).value, b""),
    ],
)
def test_anything_else_is_no_job_and_no_error(value: bytes | None, key: bytes) -> None:
    assert read(value, key) is None


def test_fields_of_other_types_are_left_out() -> None:
    told = read(
        b'{"V":1,"Kind":"replay","Status":"done","StartedAt":"2026-11-30T20:15:00Z","At":"2026-11-30T20:15:03",'
        b'"By":7,"Groups":["billing",3],"Refused":[],"Done":-4,"Rate":true,"Filter":"all"}'
    )
    assert told is not None
    assert (told.by, told.groups, told.refused, told.done, told.rate, told.filter) == (
        "",
        ("billing",),
        {},
        0,
        None,
        {},
    )


def test_texts_are_cut_and_of_one_line() -> None:
    told = read(record_of_job(replace(JOB, by="a\n\x1b[2J" * 99, error="e\n" * 999)).value)
    assert told is not None
    assert ("\n" in told.by + told.error, "\x1b" in told.by) == (False, False)
    assert (len(told.by) < 100, len(told.error) < 600) == (True, True)


@pytest.mark.parametrize(("seconds", "status"), [(9, "running"), (11, "interrupted")])
def test_one_that_fell_silent_is_shown_as_interrupted(seconds: int, status: str) -> None:
    assert as_seen(JOB, JOB.at + timedelta(seconds=seconds)).status == status
    assert as_seen(replace(JOB, status="done"), JOB.at + timedelta(seconds=seconds)).status == "done"
