"""Which rows are sent, and what becomes of each by its outcome."""

from __future__ import annotations

from datetime import UTC, datetime

from convex_messaging_fastapi.errors import MessageTooLarge, PublishFailed, PublishUnknown
from convex_messaging_fastapi.outbox.sorting import by_topic, fairly, ready, sort
from convex_messaging_fastapi.outbox.store import Fetched
from convex_messaging_fastapi.receipts import Receipt

RECEIPT = Receipt("t", 0, 0, datetime(2026, 1, 1, tzinfo=UTC))


def row(id: int, lane: int = 0, topic: str = "t", headers: str = "[]") -> Fetched:
    return Fetched(id, lane, topic, b"k", b"v", headers)


def test_a_record_tells_the_number_of_its_row_after_its_own_headers() -> None:
    found = ready([row(7, headers='[["message-id", "m"]]')])
    assert found.records[0] == (b"k", b"v", (("message-id", b"m"), ("outbox-id", b"7")))
    assert list(found.listed().keys) == [b"k"]


def test_a_row_that_cannot_be_read_stands_in_the_way_of_no_other() -> None:
    found = ready([row(1), row(2, headers="{"), row(3, headers='{"a": 1}')])
    assert [each.id for each in found.rows] == [1]
    assert list(found.broken) == [2, 3]


def test_all_are_sent_while_there_is_room() -> None:
    rows = [row(1), row(2)]
    assert fairly(rows, 2) is rows


def test_each_lane_gets_its_first_rows_where_there_is_no_room_for_all() -> None:
    rows = [row(id, lane=0) for id in range(6)] + [row(6, lane=1), row(7, lane=2)]
    assert [each.id for each in fairly(rows, 6)] == [0, 1, 6, 7]


def test_rows_of_a_topic_keep_their_order() -> None:
    topics = by_topic([row(1, topic="a"), row(2, topic="b"), row(3, topic="a")])
    assert {topic: [each.id for each in rows] for topic, rows in topics.items()} == {"a": [1, 3], "b": [2]}


def test_what_was_acknowledged_is_delivered_and_what_is_too_large_is_parked() -> None:
    outcome = sort([row(1), row(2), row(3)], [RECEIPT, MessageTooLarge("too large"), RECEIPT])
    assert outcome.delivered == [1, 3]
    assert outcome.parked == {2: "MessageTooLarge: too large"}
    assert outcome.trouble is None


def test_what_may_be_written_later_stays() -> None:
    first = PublishUnknown("who knows")
    outcome = sort([row(1), row(2), row(3)], [RECEIPT, first, PublishFailed("no")])
    assert outcome.delivered == [1]
    assert outcome.parked == {}
    assert outcome.trouble is first
