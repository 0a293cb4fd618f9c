"""What operators did to a letter is written and read back, and whatever else stands there does no harm."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from convex_messaging_fastapi.operations.states import (
    MAX_CHANGES,
    MAX_STATE_BYTES,
    Copy,
    StateOfLetter,
    Unclear,
    changed,
    forgotten,
    place_of_key,
    record_of,
    state_of,
)
from convex_messaging_fastapi.operations.values import KeptState, LetterPlace, StateChange
from convex_messaging_fastapi.records import OutgoingRecord, Record

PLACE = LetterPlace("convex.dlq", 2, 517, 1_767_225_600_123)
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
COPY = Copy("payments", "convex.payments.replay", 3, 41)


def change(state: KeptState = "discarded", **more: Any) -> StateChange:
    given: dict[str, Any] = {"at": AT, "by": "ada"} | more
    return StateChange(state, **given)


def read_back(written: OutgoingRecord) -> StateOfLetter | Unclear | None:
    return state_of(Record("convex.dlq.state", 0, 9, 0, written.key, written.value))


def read(value: bytes | None, key: bytes = b"letter/convex.dlq/2/517") -> StateOfLetter | Unclear | None:
    return read_back(OutgoingRecord(key, value))


def with_fields(**fields: Any) -> bytes:
    written = record_of(StateOfLetter(PLACE, (change("replayed"),), COPY)).value
    assert written is not None
    return json.dumps(json.loads(written) | fields).encode()


def test_a_state_is_written_as_the_other_side_of_the_topic_reads_it() -> None:
    state = StateOfLetter(PLACE, (change(reason="sold out"), change("replayed", job="j-1")), COPY)
    written = record_of(state)
    assert written.key == b"letter/convex.dlq/2/517"
    assert written.value == (
        b'{"State":"replayed","At":"2026-01-01T12:00:00Z","By":"ada","Reason":null,"Job":"j-1",'
        b'"LetterTimestamp":1767225600123,"Group":"payments","Target":"convex.payments.replay",'
        b'"Copy":{"Partition":3,"Offset":41},"Before":[{"State":"discarded","At":"2026-01-01T12:00:00Z",'
        b'"By":"ada","Reason":"sold out","Job":null}],"V":1}'
    )
    assert read_back(written) == state


def test_the_last_ten_changes_are_kept_and_the_place_of_the_latest_copy() -> None:
    state = changed(PLACE, None, change("replayed"), COPY)
    for hour in range(12):
        state = changed(PLACE, state, change("open", at=AT + timedelta(hours=hour)))
    assert len(state.changes) == MAX_CHANGES
    assert state.changes[-1].at == AT + timedelta(hours=11)
    assert state.copy == COPY
    assert read_back(record_of(state)) == state


def test_of_another_letter_that_stood_there_nothing_is_taken_over() -> None:
    """A dead-letter topic made anew begins at offset 0 again."""
    of_another = StateOfLetter(PLACE._replace(timestamp_ms=5), (change("replayed"),), COPY)
    assert changed(PLACE, of_another, change()) == StateOfLetter(PLACE, (change(),))


def test_null_says_that_the_letter_is_gone_and_no_more() -> None:
    assert forgotten(PLACE) == OutgoingRecord(b"letter/convex.dlq/2/517", None)
    assert read(None) is None


def test_texts_are_cut_and_of_one_line() -> None:
    state = read_back(record_of(StateOfLetter(PLACE, (change(by="a\n\x1b[2J" * 99, reason="r" * 999),))))
    assert isinstance(state, StateOfLetter)
    (only,) = state.changes
    assert only.by == ("a\\n\\x1b[2J" * 99)[:64] + "..."
    assert only.reason == "r" * 256 + "..."


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b"7", b"\xff", b"[" * 5000, b"NaN", b"{}", b'{"LetterTimestamp":true}', b"null"],
)
def test_what_is_no_state_is_unclear_and_raises_nothing(value: bytes) -> None:
    assert read(value) == Unclear(None)


def test_a_state_that_is_far_too_large_is_not_looked_at() -> None:
    assert read(with_fields(Reason="r" * MAX_STATE_BYTES)) == Unclear(None)


@pytest.mark.parametrize(
    "fields",
    [
        {"V": 2},
        {"V": None},
        {"State": "parked"},
        {"State": ["replayed"]},
        {"At": None},
        {"At": "yesterday"},
        {"At": "0001-01-01T00:00:00+23:00"},
    ],
    ids=str,
)
def test_what_a_newer_release_wrote_is_unclear_for_that_letter_alone(fields: dict[str, Any]) -> None:
    """An older release must neither show it as open nor act on it."""
    assert read(with_fields(**fields)) == Unclear(PLACE.timestamp_ms)


@pytest.mark.parametrize(
    ("fields", "by", "copy"),
    [
        ({"By": 7, "Reason": {}, "Job": []}, "", COPY),
        ({"Copy": None}, "ada", None),
        ({"Copy": {"Partition": "0", "Offset": 1}}, "ada", None),
        ({"Group": 1}, "ada", None),
        ({"Target": None}, "ada", None),
        ({"Before": 7}, "ada", COPY),
        ({"Before": [7, {"State": "parked"}, None]}, "ada", COPY),
        ({"Unknown": {"a": 1}}, "ada", COPY),
    ],
    ids=str,
)
def test_a_field_of_the_wrong_type_is_as_none_at_all(
    fields: dict[str, Any], by: str, copy: Copy | None
) -> None:
    assert read(with_fields(**fields)) == StateOfLetter(PLACE, (change("replayed", by=by),), copy)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (b"letter/a.dlq/0/0", ("a.dlq", 0, 0)),
        (b"letter/a/b/0/0", None),
        (b"letter/a/0", None),
        (b"letter/a/-1/0", None),
        (b"letter/a/0/99999999999999999999", None),
        (b"letter/\xff/0/0", None),
        (b"job/0192", None),
        (b"", None),
        (None, None),
    ],
)
def test_only_a_key_of_a_letter_is_taken_for_one(
    key: bytes | None, place: tuple[str, int, int] | None
) -> None:
    assert place_of_key(key) == place
