"""What a list counts is found in a letter without parsing it, and is what the letter tells."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.messages.notes import read_time
from convex_messaging_fastapi.operations.found import Found
from convex_messaging_fastapi.operations.known_states import KnownStates
from convex_messaging_fastapi.operations.letters import (
    Told,
    fields_alike,
    glance_at,
    group_key_of,
    told_of,
    without_message,
)
from convex_messaging_fastapi.operations.letters.telling import QUICK_BYTES
from convex_messaging_fastapi.records import OutgoingRecord, Record
from tests.operations.letters.test_foreign import CONNECT, SMALLRYE, SPRING
from tests.operations.support import FAILURE, a_letter, again, dotnet, original, read
from tests.support.examples import examples

NASTY = (
    b',"OriginalMessageBase64":,"ErrorMessage":"x","FailedAt":"2001","OriginalHeaders":[],"ExceptionType":"x"'
)


def agrees(letter: Record) -> None:
    """With what the whole letter tells."""
    told, glance = told_of(letter), glance_at(letter)
    assert glance is not None
    alike, failed_at, identity = glance
    assert identity == told.identity
    assert read_time(failed_at.decode()) == read_time(told.fields["FailedAt"])
    assert group_key_of(Told("convex", fields_alike(alike) or {})) == group_key_of(told)
    shown = told_of(without_message(letter)).fields
    left_out = {"OriginalMessage", "OriginalMessageBase64"}
    assert shown == {name: value for name, value in told.fields.items() if name not in left_out}


def changed(**fields: Any) -> Record:
    """A letter of ours, written as we write it, with these fields."""
    letter = a_letter()
    value = json.loads(letter.value or b"") | fields
    return read(letter._replace(value=json.dumps(value, separators=(",", ":")).encode()))


@pytest.mark.parametrize(
    "record",
    [
        original(),
        original(value=b"\xff"),
        original(value=None, key=None, headers=()),
        original(value=NASTY),
        original(key=NASTY),
        original(headers=(('],"ExceptionType":', b',"FailedAt":"1'), ('"],', b'","OriginalHeaders":['))),
        original(value=b"x" * QUICK_BYTES),
    ],
    ids=["usual", "bytes", "nothing", "a value", "a key", "headers", "large"],
)
@pytest.mark.parametrize(
    "failure",
    [
        FAILURE,
        replace(FAILURE, text=NASTY.decode(), stack=NASTY.decode(), frame=NASTY.decode()),
        replace(FAILURE, exception_type="app.DecodeError", text="Amount: wrong", frame=None),
        replace(FAILURE, handler=None, stack=""),
    ],
    ids=["usual", "nasty", "decoding", "no handler"],
)
def test_a_glance_agrees_with_the_letter(record: Record, failure: Failure) -> None:
    agrees(read(a_letter(record, failure)))


@given(
    texts=st.lists(st.text(max_size=20), min_size=6, max_size=6),
    value=st.none() | st.binary(max_size=50),
    headers=st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=9)), max_size=3),
)
@examples(200)
def test_whatever_is_in_it(
    texts: list[str], value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    text, kind, stack, group, handler, frame = texts
    failure = replace(
        FAILURE, text=text, exception_type=kind, stack=stack, group=group, handler=handler, frame=f"a{frame}"
    )
    agrees(read(a_letter(original(value=value, headers=tuple(headers)), failure)))


@pytest.mark.parametrize(
    "record",
    [
        read(a_letter(original(headers=again("j", "convex.dlq/0/0")))),
        read(a_letter(failure=replace(FAILURE, frame=None))),
        changed(Frame=""),
        changed(FailedAt=7),
        read(a_letter()._replace(headers=())),
        *[read(a_letter()._replace(headers=headers)) for headers in (SPRING, SMALLRYE, CONNECT)],
        read(dotnet()),
        read(a_letter()._replace(value=None)),
        read(a_letter()._replace(value=(a_letter().value or b"")[:-120])),
        read(a_letter()._replace(value=(a_letter().value or b"").replace(b":", b": "))),
    ],
    ids=range(12),
)
def test_every_other_letter_is_parsed(record: Record) -> None:
    assert glance_at(record) is None
    found = Found(KnownStates())
    found.begin(record.topic_partition)
    assert not found.takes_at_a_glance(record)


@pytest.mark.parametrize(
    "hostile",
    [
        changed(OriginalHeaders=[{"ConsumerGroup": "payments", "Handler": "app.pay"}], Handler="evil"),
        read(OutgoingRecord(None, (a_letter().value or b"").replace(b'{"Or', b'{"Or": "evil","Or', 1))),
        read(OutgoingRecord(None, (a_letter().value or b"")[:-1] + b',"Handler":"evil"}')),
        read(OutgoingRecord(None, (a_letter().value or b"")[:-1] + b',"ConsumerGroup":7,"Frame":[]}')),
        read(OutgoingRecord(None, (a_letter().value or b"").replace(b'"payments"', b"junk"))),
    ],
    ids=range(5),
)
def test_no_letter_decides_where_others_belong(hostile: Record) -> None:
    mine = read(a_letter())
    found = Found(KnownStates())
    found.begin(mine.topic_partition)
    for record in (hostile._replace(headers=mine.headers), mine):
        if not found.takes_at_a_glance(record):
            found.take(record, told_of(record))
    assert found.groups[found.rows.group[1]].key == group_key_of(told_of(mine))


@given(st.binary(max_size=30), st.binary(max_size=30), st.integers(0, 900), st.integers(0, 900))
@examples(200)
def test_nothing_is_raised(before: bytes, behind: bytes, begin: int, end: int) -> None:
    letter = a_letter()
    whole = letter.value or b""
    record = read(letter._replace(value=whole[:begin] + before + behind + whole[end:]))
    found = Found(KnownStates())
    found.begin(record.topic_partition)
    if found.takes_at_a_glance(record):
        assert isinstance(found.groups[0].error, str)
        assert found.groups[0].frame is None or isinstance(found.groups[0].frame, str)
