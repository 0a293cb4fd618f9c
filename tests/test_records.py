"""What a handler is told of a message, and what is not shown of it by accident."""

from __future__ import annotations

from convex_messaging_fastapi import Delivery
from convex_messaging_fastapi.records import Record

CARD = b"4111111111111111"


def test_a_delivery_in_a_log_line_says_where_the_message_is_and_nothing_of_it() -> None:
    delivery = Delivery(
        Record("bets", 3, 42, 0, CARD, CARD, (("card", CARD), (CARD.decode(), None))), attempt=2
    )
    assert repr(delivery) == str(delivery) == f"{delivery}" == "Delivery(bets/3/42, attempt=2)"
    assert CARD.decode() not in repr([delivery])
