"""What a bus writes, and what it says about it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from convex_messaging_fastapi import (
    BusNotStarted,
    BusStateError,
    BusStopped,
    ConfigurationError,
    ConvexMessage,
    EncodeError,
    PublishManyError,
)
from convex_messaging_fastapi.records import header_text
from tests.bus.support import Bet, memory_bus


async def test_a_receipt_tells_where_the_message_landed() -> None:
    bus = memory_bus()
    async with bus.test() as t:
        receipt = await bus.publish("bet.placed", Bet(bet_id=1), key="ada")
        again = await bus.publish("bet.placed", Bet(bet_id=2), key="ada")

        assert receipt.topic == "convex.bet.placed"
        assert (again.partition, again.offset) == (receipt.partition, receipt.offset + 1)
        assert receipt.timestamp.timestamp() == t.clock.unix()


async def test_the_wire_carries_pascal_case_the_key_and_the_headers() -> None:
    bus = memory_bus()
    async with bus.test() as t:
        await bus.publish(
            "bet.placed", Bet(bet_id=1), key="ada", correlation_id="c-1", headers={"x-tenant": "se"}
        )

        (record,) = t.records("bet.placed")
        assert record.value == b'{"BetId":1,"Player":"ada"}'
        assert record.key == b"ada"
        told = {name: header_text(record.headers, name) for name, _ in record.headers}
        assert told["message-type"] == "Bet"
        assert told["correlation-id"] == "c-1"
        assert told["content-type"] == "application/json"
        assert told["x-tenant"] == "se"
        assert told["message-id"]


@pytest.mark.parametrize("topic", [Bet(bet_id=1), b"bet.placed", 1], ids=lambda topic: type(topic).__name__)
async def test_what_is_given_for_a_topic_and_is_none_is_refused(topic: Any) -> None:
    bus = memory_bus()
    async with bus.test():
        with pytest.raises(
            ConfigurationError, match=rf"a topic is a str, not {type(topic).__name__}: it comes first"
        ):
            await bus.publish(topic, "bet.placed")


async def test_a_decimal_keeps_its_digits() -> None:
    class Stake(ConvexMessage):
        amount: Decimal

    bus = memory_bus()
    async with bus.test() as t:
        await bus.publish("stake", Stake(amount=Decimal("100.00")))

        assert t.records("stake")[0].value == b'{"Amount":100.00}'


async def test_one_key_goes_to_one_partition_and_many_keys_to_all() -> None:
    bus = memory_bus()
    async with bus.test():
        same = {(await bus.publish("t", {"n": n}, key="k")).partition for n in range(5)}
        many = {(await bus.publish("t", {"n": n}, key=f"k{n}")).partition for n in range(50)}

        assert len(same) == 1
        assert many == {0, 1, 2, 3}


async def test_publish_many_gives_one_receipt_each_in_order() -> None:
    bus = memory_bus()
    async with bus.test() as t:
        receipts = await bus.publish_many(
            "bet.placed", [Bet(bet_id=n, player=f"p{n % 3}") for n in range(30)], key=lambda bet: bet.player
        )

        written = {(r.partition, r.offset): r.value for r in t.records("bet.placed")}
        assert [written[r.partition, r.offset] for r in receipts] == [
            b'{"BetId":%d,"Player":"p%d"}' % (n, n % 3) for n in range(30)
        ]


async def test_publish_many_names_what_was_not_written() -> None:
    bus = memory_bus()
    async with bus.test():
        with pytest.raises(PublishManyError) as caught:
            await bus.publish_many("t", ["small", "x" * 2_000_000, "small too"])

        assert set(caught.value.failed) == {1}
        assert [receipt is not None for receipt in caught.value.receipts] == [True, False, True]


async def test_a_tombstone_is_a_null_value_and_none_as_a_message_is_refused() -> None:
    bus = memory_bus()
    async with bus.test() as t:
        await bus.tombstone("users", key="7")
        assert t.published("users") == [None]

        with pytest.raises(EncodeError, match="tombstone"):
            await bus.publish("users", None, key="7")


async def test_a_key_that_is_neither_text_nor_bytes_is_refused() -> None:
    bus = memory_bus()
    async with bus.test():
        with pytest.raises(EncodeError, match=r"use str\(\.\.\.\) of it"):
            await bus.publish("users", {"id": 7}, key=7)  # type: ignore[arg-type]


async def test_a_key_that_no_utf_8_can_carry_is_refused() -> None:
    """Half of a surrogate pair, as a careless decoder leaves it."""
    bus = memory_bus()
    async with bus.test():
        with pytest.raises(EncodeError, match="a key cannot be written as UTF-8"):
            await bus.publish("users", {}, key="\ud800")
        with pytest.raises(EncodeError, match="a key cannot be written as UTF-8"):
            await bus.tombstone("users", key="\ud800")


async def test_another_thread_publishes_synchronously() -> None:
    bus = memory_bus()
    async with bus.test() as t:
        receipt = await asyncio.to_thread(bus.publish_sync, "bet.placed", Bet(bet_id=1))

        assert receipt.offset == 0
        assert t.published("bet.placed") == [{"BetId": 1, "Player": "ada"}]


async def test_publish_sync_on_the_event_loop_is_refused_before_it_can_hang() -> None:
    bus = memory_bus()
    async with bus.test():
        with pytest.raises(BusStateError, match=r"await bus\.publish"):
            bus.publish_sync("t", {})


async def test_before_the_start_and_after_the_stop_publishing_says_so() -> None:
    bus = memory_bus()
    with pytest.raises(BusNotStarted, match="MessagingRouter"):
        await bus.publish("t", {})

    async with bus:
        await bus.publish("t", {})

    with pytest.raises(BusStopped):
        await bus.publish("t", {})


async def test_a_bus_that_runs_cannot_be_started_again_but_one_that_stopped_can() -> None:
    bus = memory_bus()
    async with bus:
        with pytest.raises(ConfigurationError, match="running already"):
            await bus.start()
    async with bus:
        await bus.publish("t", {})


async def test_a_topic_name_that_kafka_does_not_take_is_refused() -> None:
    bus = memory_bus()
    async with bus.test():
        with pytest.raises(ConfigurationError, match="topic"):
            await bus.publish("no spaces", {})


async def test_two_buses_of_one_process_meet_on_a_named_memory_broker() -> None:
    one = memory_bus(bootstrap_servers="memory://shared", consumer_group="one")
    two = memory_bus(bootstrap_servers="memory://shared", consumer_group="two")
    heard = asyncio.Event()

    @two.subscriber("bet.placed")
    async def hear(bet: Bet) -> None:
        heard.set()

    async with one, two:
        await one.publish("bet.placed", Bet(bet_id=1))
        await asyncio.wait_for(heard.wait(), 10)


async def test_the_settings_of_the_outside_are_read_when_the_bus_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from convex_messaging_fastapi import MessageBus

    bus = MessageBus()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "memory://")
    monkeypatch.setenv("KAFKA_TOPIC_PREFIX", "acme")
    async with bus:
        assert (await bus.publish("t", {})).topic == "acme.t"


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
async def test_a_timeout_in_which_nothing_can_happen_is_refused(timeout: float) -> None:
    bus = memory_bus()
    async with bus.test():
        with pytest.raises(ConfigurationError, match="more than 0 seconds"):
            await bus.publish("t", {}, timeout=timeout)
