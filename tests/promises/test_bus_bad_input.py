"""Promise 9 on every transport: whatever the bytes, they are buried whole and their partition goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer

from convex_messaging_fastapi import DeadLetterMessage, DecodeError, Delivery, Retry, TopicUnavailable
from convex_messaging_fastapi.records import Headers, kept_headers
from convex_messaging_fastapi.status import BusStatus
from convex_messaging_fastapi.transport.base import NewTopic
from convex_messaging_fastapi.transport.memory.transport import MemoryAdmin
from convex_messaging_fastapi.verdicts import ready
from tests.promises.fleet import Bet, Fleet, Heard
from tests.support.batches import sendable
from tests.support.waiting import eventually, until

MIB = 1024 * 1024
ROOMY = {"max.message.bytes": str(2 * MIB)}
"""A topic that takes a value of 1 MiB with its key, headers and overhead."""

HOSTILE_HEADERS: Headers = (
    ("null", None),
    ("empty", b""),
    ("", b"no name"),
    ("not-utf-8", b"\xff\xfe\x00"),
    ("correlation-id", b"\xc3\x28"),
    ("message-id", None),
    ("message-type", b"../../etc/passwd\r\nX-Forged: 1"),
    ("content-type", b"application/x-python-pickle"),
    ("timestamp", b"9" * 400),
    ("traceparent", b"00-" + b"f" * 5000),
    ("x-convex-replay-count", b"-1"),
    ("n" * 70_000, b"a name of 70 kB"),
    *((f"h{n}", b"%d" % n) for n in range(1000)),
)


class Bad(NamedTuple):
    value: bytes | None
    headers: Headers = ()


BAD: Mapping[str, Bad] = {
    "not JSON": Bad(b"hello"),
    "half JSON": Bad(b'{"BetId": 1'),
    "bad UTF-8": Bad(b'{"BetId": 1, "Player": "\xff\xfe"}'),
    "wrong schema": Bad(b'{"BetId": "seven"}'),
    "another type": Bad(b"[1, 2, 3]"),
    "10,000 levels deep": Bad(b'{"BetId":' * 10_000 + b"1" + b"}" * 10_000),
    "a number that takes for ever": Bad(b'{"BetId": 1e999999999}'),
    "not a number": Bad(b'{"BetId": NaN}'),
    "empty": Bad(b""),
    "null": Bad(None),
    "hostile headers": Bad(b"{", HOSTILE_HEADERS),
    "1 MiB - 1 of text": Bad(b"x" * (MIB - 1)),
    "1 MiB of text": Bad(b"x" * MIB),
    "1 MiB of bytes": Bad(b"\xff" * MIB),
    "1 MiB of quotes": Bad(b'"' * MIB),
}


async def test_every_bad_message_is_buried_with_its_bytes_and_the_next_one_is_handled(fleet: Fleet) -> None:
    """Bad and good take turns in one partition: bad ones at the even offsets."""
    await fleet.topic("bet.placed", partitions=1, config=ROOMY)
    for number, bad in enumerate(BAD.values()):
        await fleet.write("bet.placed", bad.value, key=b"ada", headers=bad.headers)
        await fleet.write(
            "bet.placed", Bet(bet_id=number).model_dump_json(by_alias=True).encode(), key=b"ada"
        )
    heard: Heard[int] = Heard()
    bus = fleet.bus()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        heard.note(bet.bet_id)

    async with bus:
        await heard.until(len(BAD))
        assert bus.status().problems == ()
    letters = {names_of(letter): letter for letter in await fleet.letters()}
    assert heard.items == list(range(len(BAD))), "each once, in order"
    assert list(letters) == list(BAD), "each once, in order"
    for name, bad in BAD.items():
        assert_whole(letters[name], bad)
    assert await fleet.all_is_committed("bet.placed")
    assert {record.key for record in await fleet.records("dlq")} == {b"ada"}


async def test_hostile_headers_break_no_good_message(fleet: Fleet) -> None:
    await fleet.topic("bet.placed", partitions=1)
    await fleet.write("bet.placed", b'{"BetId": 1}', headers=HOSTILE_HEADERS)
    await fleet.write("bet.placed", b'{"BetId": 2}')
    heard: Heard[tuple[int, Delivery]] = Heard()
    bus = fleet.bus()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet, delivery: Delivery) -> None:
        heard.note((bet.bet_id, delivery))

    async with bus:
        await heard.until(2)
    (first, delivery), (second, _) = heard.items
    assert (first, second) == (1, 2)
    assert delivery.record.headers == kept_headers(HOSTILE_HEADERS)
    assert delivery.headers["not-utf-8"] == "\ufffd\ufffd\x00"
    assert delivery.headers["n" * 70_000] == "a name of 70 kB"
    assert "null" not in delivery.headers
    assert (delivery.correlation_id, delivery.message_id) == ("\ufffd(", None)


async def test_names_of_headers_that_are_no_text_break_nothing_either(kafka_fleet: Fleet) -> None:
    """Kafka lets any bytes be a name, and the engine can read none but UTF-8."""
    fleet = kafka_fleet
    topic = await fleet.topic("bet.placed", partitions=1)
    await fleet.write("bet.placed", b'{"BetId": 0}')
    for value in (b'{"BetId": 1}', b"{"):
        await write_named(fleet.address, topic, b"\xff\xfe-name", value)
    await fleet.write("bet.placed", b'{"BetId": 2}')
    heard: Heard[tuple[int, Mapping[str, str]]] = Heard()
    bus = fleet.bus()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet, delivery: Delivery) -> None:
        heard.note((bet.bet_id, delivery.headers))

    async with bus:
        await heard.until(3)
    assert heard.items == [(0, {}), (1, {"??-name": "x"}), (2, {})]
    (letter,) = await fleet.letters()
    assert letter.original_value() == b"{"
    assert letter.original_headers() == (("??-name", b"x"),)
    assert await fleet.all_is_committed("bet.placed")


@pytest.mark.parametrize("limit", [None, 1000], ids=["the default", "1,000 bytes"])
async def test_a_small_letter_points_back(fleet: Fleet, limit: int | None) -> None:
    """A dead-letter topic that somebody else made, too small for a copy of the payload."""
    await fleet.topic("bet.placed", partitions=1, config=ROOMY)
    await fleet.topic("dlq", partitions=1, config={} if limit is None else {"max.message.bytes": str(limit)})
    value = b"\xff" * MIB
    offset = await fleet.write("bet.placed", value, key=b"ada", headers=(("x-tenant", b"se"),))
    await fleet.write("bet.placed", b'{"BetId": 2}', key=b"ada")
    heard: Heard[int] = Heard()
    bus = fleet.bus()

    @bus.subscriber("bet.placed", id="settle")
    async def handle(bet: Bet) -> None:
        heard.note(bet.bet_id)

    async with bus:
        await heard.until(1)
        assert bus.status().problems == ()
    (letter,) = await fleet.letters()
    assert letter.payload_omitted
    with pytest.raises(DecodeError, match=r"read it at partition 0, offset 0"):
        letter.original_value()
    assert (letter.original_topic, letter.original_partition, letter.original_offset) == (
        fleet.on_wire("bet.placed"),
        0,
        offset,
    )
    (original, _) = await fleet.records("bet.placed")
    assert original.value == value, "what the letter points to is the original"
    assert await fleet.all_is_committed("bet.placed")


async def test_the_dead_letter_topic_is_made_before_it_is_needed_although_topics_are_not_created(
    fleet: Fleet,
) -> None:
    await fleet.topic("bet.placed")
    bus = fleet.bus(create_topics=False)

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None: ...

    name = fleet.on_wire("dlq")
    async with bus:
        await asyncio.to_thread(until, lambda: fleet.witness.limit(name), 20, "the topic")
        assert fleet.witness.limit(name) == 2 * 10 * MIB + 64 * 1024
        assert ready(bus.status()).ok


async def test_a_dead_letter_topic_that_cannot_be_made_is_told_from_the_start_and_loses_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any message failed: status and the ready probe say so, and a poison waits unfinished."""
    await fleet.topic("bet.placed", partitions=1)
    choices: dict[str, Any] = {}
    if fleet.name == "kafka":
        choices["replication_factor"] = 9  # more than there are brokers, so the cluster refuses
    else:
        forbid_creation(monkeypatch)
    heard: Heard[int] = Heard()
    bus = fleet.bus(**choices)

    @bus.subscriber("bet.placed", retry=Retry(attempts=1))
    async def handle(bet: Bet) -> None:
        heard.note(bet.bet_id)
        if bet.bet_id == 1:
            raise ValueError("poison")

    async with bus:
        await eventually(lambda: bus.status().problems, 20, "the refusal")
        assert bus.status().problems == ("dlq_unavailable",)
        assert not ready(bus.status()).ok
        await eventually(lambda: ready(bus.status()).status != "starting", 20, "a place in the group")
        verdict = ready(bus.status())
        assert (verdict.ok, verdict.status, verdict.reasons) == (False, "degraded", ("dlq_unavailable",))

        await bus.publish("bet.placed", Bet(bet_id=1), key="ada")
        await heard.until(1)
        await eventually(lambda: holds(bus.status()), 20, "a partition that waits")
        assert holds(bus.status()) == ["dlq_unavailable"]

        monkeypatch.undo()
        await fleet.topic("dlq")
        await eventually(lambda: not holds(bus.status()), 20, "the letter")
        await eventually(lambda: ready(bus.status()).ok, 20, "being ready")
    (letter,) = await fleet.letters()
    assert letter.original_message == '{"BetId":1,"Player":"ada"}'
    assert heard.items == [1]
    assert await fleet.all_is_committed("bet.placed")


def names_of(letter: DeadLetterMessage) -> str:
    assert letter.original_offset is not None
    return list(BAD)[letter.original_offset // 2]


def assert_whole(letter: DeadLetterMessage, bad: Bad) -> None:
    assert letter.original_value() == bad.value
    assert letter.original_key() == b"ada"
    assert letter.original_headers() == kept_headers(bad.headers)
    assert letter.was_null is (bad.value is None)
    assert letter.attempts == 1, "trying again cannot help"
    assert len(letter.error_message) < 500, "an error's text does not repeat the payload"


def holds(status: BusStatus) -> list[str]:
    """Why partitions wait."""
    return [owned.held for worker in status.workers for owned in worker.partitions if owned.held is not None]


async def write_named(address: str, topic: str, name: bytes, value: bytes) -> None:
    """Write a record with a header of this name, which no client of Python would."""
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        await (await producer.send_batch(sendable(b"ada", value, [(name, b"x")]), topic, partition=0))
    finally:
        await producer.stop()


def forbid_creation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an authorizer would do on Kafka."""

    async def refuse(self: MemoryAdmin, topic: NewTopic) -> None:
        raise TopicUnavailable(f"topic {topic.name!r} could not be created: you may not")

    monkeypatch.setattr(MemoryAdmin, "ensure_topic", refuse)
