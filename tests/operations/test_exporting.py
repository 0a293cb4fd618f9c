"""Letters leave as JSON, whole, whatever they hold."""

from __future__ import annotations

import base64
import json
from dataclasses import fields

from convex_messaging_fastapi.operations import Filter, Letter, StateChange
from convex_messaging_fastapi.records import OutgoingRecord
from tests.operations.support import AT, Desk, a_letter, original


async def test_each_letter_is_an_object_that_json_takes() -> None:
    desk = Desk()
    place, _, _ = desk.write(
        a_letter(original(1)),
        a_letter(original(2, value=b"\xff\x00", key=b"\xfe")),
        OutgoingRecord(None, b"\xff junk \x1b[2J"),
    )
    desk.keep(place, StateChange("discarded", AT, "ada", reason="sold out"))
    told = [json.loads(json.dumps(each)) async for each in desk.operations.export(Filter(state="all"))]
    ours, raw, junk = told
    assert (ours["Id"], ours["Kind"], ours["State"], ours["Value"]) == (
        "0/0",
        "convex",
        "discarded",
        '{"BetId":1,"Amount":100.00}',
    )
    assert ours["Origin"]["Topic"] == "convex.payments"
    assert ours["Place"] == {
        "Topic": "convex.dlq",
        "Partition": 0,
        "Offset": 0,
        "TimestampMs": place.timestamp_ms,
    }
    assert ours["Headers"][1] == {"Name": "raw", "Value": None, "ValueBase64": "/w=="}
    assert ours["History"] == [
        {"State": "discarded", "At": "2026-01-01T12:00:00Z", "By": "ada", "Reason": "sold out", "Job": None}
    ]
    assert base64.b64decode(raw["ValueBase64"]) == b"\xff\x00"
    assert (raw["Value"], raw["Key"], raw["KeyBase64"]) == (None, None, "/g==")
    assert (junk["Kind"], junk["Value"], junk["State"]) == ("unreadable", None, "open")
    assert len(ours) == len(fields(Letter)) + 2


async def test_all_that_a_filter_means_are_exported_in_the_order_of_offsets() -> None:
    desk = Desk(partitions=2)
    for offset in range(6):
        desk.write(a_letter(original(offset)), partition=offset % 2)
    found = [each["Id"] async for each in desk.operations.export(Filter(ids=("0/0", "0/2", "1/1")))]
    assert found == ["0/0", "0/2", "1/1"]
