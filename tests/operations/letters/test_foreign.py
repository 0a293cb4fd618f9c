"""Dead letters of Spring, SmallRye and Kafka Connect, as their headers are on the wire."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.operations import Letter
from convex_messaging_fastapi.operations.letters import group_key_of, letter_of, told_of
from convex_messaging_fastapi.records import Headers, Record
from tests.operations.support import DLQ

JAVA_STACK = (
    b"org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed\n"
    b"\tat org.springframework.kafka.listener.KafkaMessageListenerContainer.run(Container.java:9)\n"
    b"Caused by: com.acme.CardRefused: card refused\n"
    b"\tat java.base/java.util.Optional.orElseThrow(Optional.java:403)\n"
    b"\tat com.acme.Payments.charge(Payments.java:41)\n"
    b"\tat com.acme.Listener.onMessage(Listener.java:12)\n"
)

SPRING: Headers = (
    ("message-id", b"m-1"),
    ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_dlt-exception-cause-fqcn", b"com.acme.CardRefused"),
    ("kafka_dlt-exception-message", b"Listener failed; card refused"),
    ("kafka_dlt-exception-stacktrace", JAVA_STACK),
    ("kafka_dlt-original-topic", b"orders"),
    ("kafka_dlt-original-partition", b"\x00\x00\x00\x02"),
    ("kafka_dlt-original-offset", b"\x00\x00\x00\x00\x00\x00\x02\x05"),
    ("kafka_dlt-original-timestamp", b"\x00\x00\x01\x9b\x76\xda\xa8\x7b"),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"billing"),
    ("retry_topic-attempts", b"\x00\x00\x00\x03"),
    ("tenant", b"acme"),
)

SMALLRYE: Headers = (
    ("dead-letter-reason", b"card refused"),
    ("dead-letter-cause", b"timeout"),
    ("dead-letter-exception-class-name", b"com.acme.CardRefused"),
    ("dead-letter-topic", b"orders"),
    ("dead-letter-partition", b"2"),
    ("dead-letter-offset", b"1234"),
    ("tenant", b"acme"),
)

CONNECT: Headers = (
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"2"),
    ("__connect.errors.offset", b"1234"),
    ("__connect.errors.connector.name", b"sink"),
    ("__connect.errors.task.id", b"0"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.class.name", b"org.apache.kafka.connect.json.JsonConverter"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", b"Converting byte[] failed"),
    (
        "__connect.errors.exception.stacktrace",
        b"org.apache...DataException: no\n\tat org.apache.kafka.A.b(A.java:7)",
    ),
    ("tenant", b"acme"),
)

VALUE = b"\x00\xffnot ours"


def shown(headers: Headers) -> Letter:
    record = Record("orders-dlt", 1, 9, 1_767_268_800_000, b"key", VALUE, headers)
    return letter_of(record, told_of(record), DLQ, whole=True)


def test_a_letter_of_spring() -> None:
    letter = shown(SPRING)
    assert (letter.kind, letter.id) == ("spring", "orders-dlt/1/9")
    assert letter.origin[:3] == ("orders", 2, 517)
    assert letter.origin.timestamp is not None
    assert letter.origin.timestamp.isoformat() == "2026-01-01T00:00:00.123000+00:00"
    assert (letter.group, letter.handler, letter.message_id) == ("billing", "-", "m-1")
    assert (letter.exception_type, letter.error) == ("com.acme.CardRefused", "Listener failed; card refused")
    assert letter.frame == "Payments.java:41 in com.acme.Payments.charge"
    assert (letter.key, letter.value) == (b"key", VALUE)
    assert letter.headers == (("message-id", b"m-1"), ("tenant", b"acme"))


def test_a_letter_of_spring_without_dlt_in_its_names() -> None:
    letter = shown(tuple((name.replace("dlt-", ""), value) for name, value in SPRING))
    assert (letter.kind, letter.origin[:3], letter.group) == ("spring", ("orders", 2, 517), "billing")
    assert letter.headers == (("message-id", b"m-1"), ("tenant", b"acme"))


def test_a_letter_of_smallrye() -> None:
    letter = shown(SMALLRYE)
    assert (letter.kind, letter.origin[:3]) == ("smallrye", ("orders", 2, 1234))
    assert (letter.group, letter.handler) == ("-", "-")
    assert (letter.exception_type, letter.error) == ("com.acme.CardRefused", "card refused: timeout")
    assert letter.headers == (("tenant", b"acme"),)


def test_a_letter_of_kafka_connect() -> None:
    letter = shown(CONNECT)
    assert (letter.kind, letter.origin[:3]) == ("connect", ("orders", 2, 1234))
    assert (letter.group, letter.handler) == ("sink", "-")
    assert letter.exception_type == "org.apache.kafka.connect.errors.DataException"
    assert letter.frame == "A.java:7 in org.apache.kafka.A.b"
    assert letter.headers == (("tenant", b"acme"),)


def test_numbers_are_told_by_family_and_not_by_length() -> None:
    """The text 1234 has four bytes, as an int32 has."""
    assert shown(SMALLRYE).origin.offset == 1234
    as_text = tuple((name, b"1234" if name.endswith("partition") else value) for name, value in SPRING)
    assert shown(as_text).origin.partition == 0x31323334


@pytest.mark.parametrize("family", [SPRING, SMALLRYE, CONNECT], ids=["spring", "smallrye", "connect"])
@pytest.mark.parametrize("wrong", [None, b"", b"\xff" * 9, b"x" * 100_000, b"-1", b"\x80" + b"\x00" * 7])
def test_a_header_that_lies_does_no_harm(family: Headers, wrong: bytes | None) -> None:
    for at in range(len(family)):
        headers = (*family[:at], (family[at][0], wrong), *family[at + 1 :])
        record = Record("orders-dlt", 1, 9, 0, None, None, headers)
        told = told_of(record)
        group_key_of(told)
        assert letter_of(record, told, DLQ, whole=True).value is None


def test_a_letter_that_names_no_topic_is_of_the_family_still() -> None:
    assert shown((("dead-letter-reason", b"no"),)).origin.topic == "-"
