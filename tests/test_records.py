"""What a handler is told of a message, and what is not shown of it by accident."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta

import pytest

from convex_messaging_fastapi import Delivery
from convex_messaging_fastapi.records import Lease, Record, delivery_of

CARD = b"4111111111111111"


def test_a_delivery_in_a_log_line_says_where_the_message_is_and_nothing_of_it() -> None:
    delivery = Delivery(
        Record("bets", 3, 42, 0, CARD, CARD, (("card", CARD), (CARD.decode(), None))), attempt=2
    )
    assert repr(delivery) == str(delivery) == f"{delivery}" == "Delivery(bets/3/42, attempt=2)"
    assert CARD.decode() not in repr([delivery])


def test_a_delivery_for_a_test_has_sensible_parts() -> None:
    delivery = Delivery.for_test()
    assert (delivery.topic, delivery.partition, delivery.offset, delivery.key) == ("test", 0, 0, None)
    assert (delivery.attempt, delivery.revoked) == (1, False)
    assert delivery.message_id == delivery.correlation_id == "test-message"
    assert abs(datetime.now(UTC) - delivery.timestamp) < timedelta(minutes=1)


def test_each_part_of_a_delivery_may_be_given_to_a_test() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    delivery = Delivery.for_test(
        "convex.bets",
        partition=3,
        offset=42,
        key="ada",
        value=b"[]",
        headers={"tenant": "north", "raw": b"\xff", "null": None},
        message_id="m",
        correlation_id="c",
        timestamp=at,
        attempt=2,
        revoked=True,
    )
    assert repr(delivery) == "Delivery(convex.bets/3/42, attempt=2)"
    assert (delivery.key, delivery.record.value, delivery.timestamp) == (b"ada", b"[]", at)
    assert (delivery.message_id, delivery.correlation_id, delivery.revoked) == ("m", "c", True)
    assert delivery.headers == {"message-id": "m", "correlation-id": "c", "tenant": "north", "raw": "\ufffd"}
    assert ("null", None) in delivery.record.headers


def test_ids_that_other_producers_do_not_write_can_be_left_out() -> None:
    delivery = Delivery.for_test(message_id=None, correlation_id=None)
    assert (delivery.message_id, delivery.correlation_id, delivery.headers) == (None, None, {})


def test_a_delivery_that_is_made_in_less_time_is_the_same() -> None:
    record, lease = Record("bets", 1, 2, 3, b"ada", b"{}"), Lease(4)
    made = delivery_of(record, 2, lease, "group/handler")
    assert made == Delivery(record, 2, lease)
    assert (made.record, made.attempt, made.lease) == (record, 2, lease)
    with pytest.raises(FrozenInstanceError):
        made.attempt = 3  # type: ignore[misc]
