"""Letters that somebody made to do harm stand among the others, and none of the others is hidden by them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from convex_messaging_fastapi.messages import codec_for
from convex_messaging_fastapi.operations import Filter, KnownHandler
from convex_messaging_fastapi.records import OutgoingRecord
from tests.operations.support import FAILURE, Desk, a_letter, again, dotnet, original

MIB = 1024 * 1024


def with_fields(**fields: Any) -> OutgoingRecord:
    letter = a_letter()
    value = json.loads(letter.value or b"{}") | fields
    return letter._replace(value=json.dumps(value).encode(), headers=())


HOSTILE: dict[str, Callable[[], OutgoingRecord]] = {
    "a message of 10 MiB": lambda: a_letter(original(7, value=b'{"a":"' + b"x" * 10 * MIB + b'"}')),
    "a message of 10 MiB of quotation marks": lambda: a_letter(original(7, value=b'"' * 10 * MIB)),
    "an error of 10 MiB": lambda: with_fields(ErrorMessage="e" * 10 * MIB),
    "a handler of 10 MiB": lambda: with_fields(Handler="h" * 10 * MIB),
    "headers of 10 MiB": lambda: with_fields(OriginalHeaders=[{"Name": "n" * 1000}] * 10_000),
    "a frame of 1 MiB": lambda: with_fields(Frame="a.py:1 in f" * 100_000),
    "a million members": lambda: OutgoingRecord(None, b"[" + b"{}," * 1_000_000 + b"{}]"),
    "ten thousand levels": lambda: OutgoingRecord(None, b"[" * 10_000),
    "a hundred thousand digits": lambda: OutgoingRecord(None, b'{"OriginalTopic":%s}' % (b"9" * 100_000)),
    "no JSON": lambda: OutgoingRecord(b"key", b"\xff\x00\x1b[2J"),
    "JSON cut off": lambda: OutgoingRecord(None, (a_letter().value or b"")[:-1]),
    "no value": lambda: OutgoingRecord(b"key", None),
    "no letter": lambda: OutgoingRecord(None, b'{"a":1}'),
    "half a surrogate pair": lambda: OutgoingRecord(None, b'{"OriginalTopic":"\\ud800","ErrorMessage":"e"}'),
    "control characters": lambda: with_fields(
        ErrorMessage="\x1b[2J\r\n\u202e", Handler="\x00\n", Frame="\x1b]0;"
    ),
    "names that were cut": lambda: a_letter(original(7), replace(FAILURE, group="g" * 256 + "...")),
    "another's id": lambda: with_fields(MessageId="m-1", ReplayCount=2**62),
    "forged headers of a replay": lambda: a_letter(original(7, headers=again("j", "convex.dlq/0/0", 999))),
    "a topic that is none": lambda: with_fields(OriginalTopic="../../etc/passwd\x00"),
    "a topic of the cluster's own": lambda: dotnet(OriginalTopic="__consumer_offsets"),
    "times out of every calendar": lambda: with_fields(
        FailedAt="9999-12-31T23:59:59-23:59", OriginalTimestamp=7
    ),
    "numbers where texts belong": lambda: with_fields(
        ConsumerGroup=7, Handler=[], ExceptionType={}, StackTrace=1, Frame=2, ErrorMessage=None, MessageId=3
    ),
    "texts where numbers belong": lambda: with_fields(
        OriginalPartition="x", OriginalOffset=-1, Attempts="y", ReplayCount="z", OriginalHeaders={"a": 1}
    ),
    "a family's header and nothing else": lambda: OutgoingRecord(
        None, None, (("kafka_dlt-original-topic", None),)
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_it_is_listed_shown_validated_and_exported_like_any_other(name: str) -> None:
    handler = KnownHandler("payments", "app.pay", ("convex.payments",), codec_for(dict[str, Any]))
    desk = Desk(handlers=[handler])
    desk.write(a_letter(original(1)), HOSTILE[name](), a_letter(original(2)))
    page = await desk.operations.dead_letters(Filter(state="all"))
    assert [letter.id for letter in page.letters] == ["0/2", "0/1", "0/0"]
    assert page.matched == sum(group.total for group in page.groups) == 3
    assert all(len(letter.error) <= 2000 and len(letter.handler) <= 2000 for letter in page.letters)
    assert all(len(group.handler) <= 512 and len(group.error) <= 500 for group in page.groups)
    whole = await desk.operations.dead_letter("0/1")
    assert whole.is_whole
    assert (await desk.operations.validate()).checked == 3
    exported = [json.dumps(each) async for each in desk.operations.export()]
    assert len(exported) == 3
    assert [letter.id for letter in await desk.listed(text="user-1", handler="app.pay")][-1] == "0/0"


async def test_all_of_them_together_hide_nothing() -> None:
    desk = Desk()
    desk.write(a_letter(original(1)), *(make() for make in HOSTILE.values()), a_letter(original(2)))
    page = await desk.operations.dead_letters(Filter(state="all"), limit=1000)
    found = {letter.id for letter in page.letters}
    assert {"0/0", f"0/{len(HOSTILE) + 1}"} <= found
    unreadable = [letter for letter in page.letters if letter.kind == "unreadable"]
    assert len(unreadable) == 8
