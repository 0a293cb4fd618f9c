"""Large messages: published, read and buried whole where topics take them; else told whose limit it was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from convex_messaging_fastapi import (
    Delivery,
    MessageBus,
    MessageTooLarge,
    PublishManyError,
    Reject,
)
from tests.promises.fleet import Bet, Fleet, Heard
from tests.support.waiting import eventually

MIB = 1024 * 1024
FIVE_MB = 5_000_000
ROOMY = {"max.message.bytes": str(30_000_000)}

Verb = Callable[[MessageBus, str, Bet], Awaitable[object]]


async def publish_in_a_thread(bus: MessageBus, topic: str, bet: Bet) -> object:
    return await asyncio.to_thread(bus.publish_sync, topic, bet)


VERBS: Mapping[str, Verb] = {
    "publish": lambda bus, topic, bet: bus.publish(topic, bet),
    "publish_many": lambda bus, topic, bet: bus.publish_many(topic, [bet, Bet(bet_id=0)]),
    "publish_sync": publish_in_a_thread,
    "send": lambda bus, topic, bet: bus.send(topic, bet),
    "headers": lambda bus, topic, bet: bus.publish(topic, Bet(bet_id=1), headers={"x-player": bet.player}),
    "key": lambda bus, topic, bet: bus.publish(topic, Bet(bet_id=1), key=bet.player),
    "tombstone": lambda bus, topic, bet: bus.tombstone(topic, key=bet.player),
}
verbs = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


def large(size: int = FIVE_MB) -> Bet:
    return Bet(bet_id=1, player="x" * size)


def too_large(error: BaseException) -> str:
    """What was said of the one message of a call that was."""
    if isinstance(error, PublishManyError):
        (error,) = error.failed.values()
    assert isinstance(error, MessageTooLarge), error
    return str(error)


def rebuilds(bus: MessageBus) -> int:
    """How many producers were replaced."""
    producer = bus.status().producer
    assert producer is not None
    return producer.contact.rebuilds


async def test_five_megabytes_are_published_by_every_verb_and_read(fleet: Fleet) -> None:
    await fleet.topic("bet.placed", config=ROOMY)
    heard: Heard[int] = Heard()
    bus = fleet.bus(publish_timeout_seconds=30)

    @bus.subscriber("bet.placed")
    async def handle(value: bytes | None, delivery: Delivery) -> None:
        record = delivery.record
        heard.note(len(record.key or b"") + len(value or b"") + sum(len(v or b"") for _, v in record.headers))

    async with bus:
        for verb in VERBS.values():
            await verb(bus, "bet.placed", large())
        await heard.until(len(VERBS) + 1)
        assert sum(size > FIVE_MB for size in heard.items) == len(VERBS)
        assert rebuilds(bus) == 0


@verbs
async def test_what_is_over_our_limit_is_told_by_the_name_of_the_setting(fleet: Fleet, verb: Verb) -> None:
    await fleet.topic("bet.placed", config=ROOMY)
    bus = fleet.bus(max_message_bytes=2_000_000)
    async with bus:
        with pytest.raises((MessageTooLarge, PublishManyError)) as caught:
            await verb(bus, "bet.placed", large(2_000_001))
        said = too_large(caught.value)
        assert "max_message_bytes allows" in said
        assert "more than 2000000." in said
        assert "KAFKA_MAX_MESSAGE_BYTES" in said
        await verb(bus, "bet.placed", large(1_990_000))


@verbs
async def test_what_is_over_the_topics_limit_is_told_by_its_name_and_costs_no_producer(
    fleet: Fleet, verb: Verb
) -> None:
    await fleet.topic("bet.placed", config={"max.message.bytes": "1100000"})
    bus = fleet.bus()
    async with bus:
        for size in (2_000_000, 1_500_000, 1_500_000, 1_200_000):
            with pytest.raises((MessageTooLarge, PublishManyError)) as caught:
                await verb(bus, "bet.placed", large(size))
            said = too_large(caught.value)
            assert "max.message.bytes of the topic" in said
            assert "max_message_bytes" not in said
            await verb(bus, "bet.placed", large(900_000))
        assert rebuilds(bus) == 0


VALUES: Mapping[str, bytes] = {
    "text": b'{"BetId": 1, "Player": "' + b"x" * FIVE_MB + b'"}',
    "text that is escaped": b'"' * FIVE_MB,
    "no text": b"\xff" * FIVE_MB,
    "as large as a message may be": b"\x01" * (10 * MIB),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
async def test_what_fails_is_buried_whole_in_a_topic_of_our_making(fleet: Fleet, value: bytes) -> None:
    await fleet.topic("bet.placed", partitions=1, config=ROOMY)
    bus = fleet.bus(publish_timeout_seconds=30)

    @bus.subscriber("bet.placed")
    async def handle(given: bytes) -> None:
        raise Reject("no")

    async with bus:
        await bus.publish("bet.placed", value, key="ada")
        await eventually(lambda: bus.status().workers[0].subscriptions[0].buried, 20, "the letter")
    heard: Heard[int] = Heard()
    reader = fleet.bus(consumer_group=f"{fleet.group}-of-letters")

    @reader.subscriber("dlq")
    async def read(written: bytes) -> None:
        heard.note(len(written))

    async with reader:
        assert (await heard.until(1))[0] > len(value)
    (letter,) = await fleet.letters()
    assert letter.original_value() == value
    assert letter.original_key() == b"ada"


async def test_letters_go_on_where_their_topic_takes_hardly_any(fleet: Fleet) -> None:
    """Made by somebody else: nothing of ours is replaced for it, and others publish on."""
    await fleet.topic("bet.placed", config=ROOMY)
    await fleet.topic("bet.settled")
    await fleet.topic("dlq", partitions=1, config={"max.message.bytes": "300"})
    bus = fleet.bus()
    failed: Heard[int] = Heard()

    @bus.subscriber("bet.placed")
    async def handle(given: bytes) -> None:
        failed.note(1)
        raise Reject("no")

    async with bus:
        await bus.publish_many(
            "bet.placed",
            [Bet(bet_id=n, player="x" * n * 10) for n in range(64)],
            key=lambda bet: str(bet.bet_id),
        )
        await failed.until(32)
        await eventually(lambda: bus.status().problems == ("dlq_unavailable",), 20, "a word of the letters")
        for number in range(50):
            await bus.publish("bet.settled", Bet(bet_id=number))
        assert rebuilds(bus) == 0
