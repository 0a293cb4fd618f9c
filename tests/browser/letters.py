"""Dead letters of the example app by the dozen or thousand, as if as many payments had failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from convex_messaging_fastapi.records import OutgoingRecord
from tests.operations.support import FAILURE, a_letter, original
from tests.support.independent import Independent
from tools.kafka.cluster import Cluster

HANDLER = "example_app.handlers.take_payment"


DECLINED, EXPIRED = "example_app.handlers.CardDeclined", "example_app.handlers.CardExpired"


def fail(kafka: Cluster, prefix: str, count: int, error: str = DECLINED) -> None:
    """So many payments are buried; each would be taken now."""
    values = [letter.value for letter in letters(prefix, count, error)]
    landed = Independent(kafka.bootstrap).write(f"{prefix}.dlq", values)
    assert len(landed) == count


def letters(prefix: str, count: int, error: str) -> Iterator[OutgoingRecord]:
    failure = replace(FAILURE, exception_type=error, group=f"{prefix}.payments", handler=HANDLER)
    for number in range(count):
        value = b'{"BetId":%d,"Amount":10.00,"Card":"4242"}' % number
        headers = (("message-id", b"%s-%d" % (error.encode(), number)),)
        payment = original(number, topic=f"{prefix}.payments", key=None, value=value, headers=headers)
        yield a_letter(payment, failure)
