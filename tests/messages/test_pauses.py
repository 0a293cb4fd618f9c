"""What a fleet is told about pauses is read as it was written, and whatever else stands there is harmless."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.messages.pauses import MAX_BYTES, Pause, Whom, record_of, word_of
from convex_messaging_fastapi.records import OutgoingRecord, Record

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
WHOM = Whom("payments", "app.charge")


def read(record: OutgoingRecord) -> Record:
    return Record("convex.control", 0, 3, 1_767_268_800_000, record.key, record.value)


def test_a_pause_is_written_as_other_releases_read_it() -> None:
    record = record_of(WHOM, "ada", AT, "database away", paused=True)
    assert record.key == b"pause/payments/app.charge"
    assert record.value == (
        b'{"Paused":true,"By":"ada","At":"2026-01-01T12:00:00Z","Reason":"database away"}'
    )


@pytest.mark.parametrize("paused", [True, False])
@given(
    group=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    subscription=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_it_is_read_for_whom_it_was_written(paused: bool, group: str, subscription: str) -> None:
    whom = Whom(group, subscription)
    word = word_of(read(record_of(whom, "ada", AT, "why", paused=paused)))
    assert word == (whom, Pause("ada", AT, "why") if paused else None)


def test_times_of_other_zones_are_told_in_utc() -> None:
    at = AT.astimezone(timezone(timedelta(hours=2)))
    assert word_of(read(record_of(WHOM, "ada", at, None, paused=True))) == (WHOM, Pause("ada", AT))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b"\xff",
        b'{"Paused":1}',
        b'{"Paused":"true"}',
        b'{"Paused":null}',
        b'{"Paused":true,"By":"' + b"a" * MAX_BYTES + b'"}',
    ],
)
def test_what_says_neither_says_nothing(value: bytes) -> None:
    assert word_of(read(OutgoingRecord(b"pause/payments/app.charge", value))) is None


@pytest.mark.parametrize(
    "key",
    [None, b"", b"pause", b"pause/", b"pause/g", b"pause/g/", b"pause//s", b"jobs/g/s", b"pause/\xff/s"],
)
def test_what_names_no_subscription_says_nothing(key: bytes | None) -> None:
    assert word_of(read(OutgoingRecord(key, b'{"Paused":true}'))) is None


def test_null_lets_it_go_on() -> None:
    assert word_of(read(OutgoingRecord(b"pause/g/s", None))) == (Whom("g", "s"), None)


def test_a_pause_without_its_texts_is_one_all_the_same() -> None:
    record = read(OutgoingRecord(b"pause/g/s", b'{"Paused":true,"By":7,"At":"soon","Reason":[]}'))
    assert word_of(record) == (Whom("g", "s"), Pause("", AT))


def test_texts_are_short_and_of_one_line() -> None:
    word = word_of(read(record_of(WHOM, "ada\n" * 100, AT, "\x1b[31m" * 1000, paused=True)))
    assert word is not None
    assert word[1] is not None
    assert "\n" not in word[1].by
    assert "\x1b" not in (word[1].reason or "")
    assert len(word[1].by) < 100
