"""Who handles what, how often and in which order, through whole buses on every transport."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable

import pytest

from convex_messaging_fastapi import Batch, Bus, Delivery, MessageBus, PublishFailed, Retry
from convex_messaging_fastapi.records import header_text
from tests.promises.fleet import Bet, Fleet, Heard
from tests.support.waiting import eventually


async def test_a_stop_and_a_start_lose_nothing_and_repeat_nothing(fleet: Fleet) -> None:
    await fleet.topic("bet.placed")
    heard: Heard[int] = Heard()
    writer, reader = fleet.bus(consumer_group=f"{fleet.group}-writer"), fleet.bus()

    @reader.subscriber("bet.placed", concurrency=4)
    async def handle(bet: Bet) -> None:
        await asyncio.sleep(0.005)  # simulates work
        heard.note(bet.bet_id)

    async def publish(first: int) -> None:
        bets = [Bet(bet_id=n, player=f"p{n % 17}") for n in range(first, first + 100)]
        await writer.publish_many("bet.placed", bets, key=lambda bet: bet.player)

    async with writer:
        async with reader:
            await publish(0)
            await heard.until(40)
        at_the_stop = len(heard.items)
        await publish(100)
        async with reader:
            await heard.until(200)
    assert 40 <= at_the_stop < 100, "the stop came in the middle of the work"
    assert Counter(heard.items) == dict.fromkeys(range(200), 1)
    assert await fleet.all_is_committed("bet.placed")


async def test_both_handlers_of_a_topic_get_every_message(fleet: Fleet) -> None:
    await fleet.topic("bet.placed")
    heard: Heard[tuple[str, int]] = Heard()
    bus = fleet.bus()

    @bus.subscriber("bet.placed")
    async def one(bet: Bet) -> None:
        heard.note(("one", bet.bet_id))

    @bus.subscriber("bet.placed", retry=Retry(attempts=2, delay_seconds=0.01))
    async def two(bet: Bet, delivery: Delivery) -> None:
        if bet.bet_id == 3 and delivery.attempt == 1:
            raise ConnectionError("the other handler has nothing to do with it")
        heard.note(("two", bet.bet_id))

    async with bus:
        await bus.publish_many("bet.placed", [Bet(bet_id=n) for n in range(20)], key=lambda b: str(b.bet_id))
        await heard.until(40)
    assert Counter(heard.items) == dict.fromkeys(((who, n) for who in ("one", "two") for n in range(20)), 1)
    assert await fleet.all_is_committed("bet.placed")


async def test_the_receivers_of_a_queue_compete_whatever_their_services(fleet: Fleet) -> None:
    """Two services, two consumer groups, one queue: each command is handled once, and both take part."""
    await fleet.topic("payments", partitions=8)
    heard: Heard[tuple[int, int]] = Heard()
    buses = [fleet.bus(consumer_group=f"{fleet.prefix}-service-{n}") for n in range(2)]

    def receiver(number: int) -> Callable[[Bet], Awaitable[None]]:
        async def receive(bet: Bet) -> None:
            heard.note((number, bet.bet_id))

        return receive

    for number, bus in enumerate(buses):
        bus.receiver("payments")(receiver(number))
    async with buses[0], buses[1]:
        await eventually(lambda: [_partitions(bus) for bus in buses] == [4, 4], 20, "four partitions each")
        for n in range(80):
            await buses[0].send("payments", Bet(bet_id=n), key=f"k{n}")
        await heard.until(80)
        groups = {worker.group for bus in buses for worker in bus.status().workers}
    assert groups == {f"{fleet.prefix}.payments"}
    assert Counter(n for _, n in heard.items) == dict.fromkeys(range(80), 1)
    assert {number for number, _ in heard.items} == {0, 1}
    assert await fleet.all_is_committed("payments", f"{fleet.prefix}.payments")


async def test_one_key_keeps_its_order_and_never_runs_beside_itself(fleet: Fleet) -> None:
    await fleet.topic("bet.placed")
    heard: Heard[tuple[str, int]] = Heard()
    running: Counter[str] = Counter()
    most = 0
    bus = fleet.bus(concurrency=16)

    @bus.subscriber("bet.placed", retry=Retry(attempts=3, delay_seconds=0.01))
    async def handle(bet: Bet, delivery: Delivery) -> None:
        nonlocal most
        running[bet.player] += 1
        most = max(most, sum(running.values()))
        assert running[bet.player] == 1
        await asyncio.sleep(0.001 * (bet.bet_id % 3))  # simulates work
        running[bet.player] -= 1
        if bet.bet_id % 7 == 0 and delivery.attempt == 1:
            raise ConnectionError("once more, please")
        heard.note((bet.player, bet.bet_id))

    async with bus:
        bets = [Bet(bet_id=n, player=f"p{n % 10}") for n in range(200)]
        await bus.publish_many("bet.placed", bets, key=lambda bet: bet.player)
        await heard.until(200)
    order: dict[str, list[int]] = defaultdict(list)
    for player, bet_id in heard.items:
        order[player].append(bet_id)
    assert order == {f"p{n}": list(range(n, 200, 10)) for n in range(10)}
    assert most > 4, "different keys run side by side"


async def test_a_handler_comes_and_goes_while_the_bus_runs_and_no_topic_loses_a_message(fleet: Fleet) -> None:
    """A topic that is new to the group rebuilds its consumer in the middle of the work."""
    await fleet.topic("bet.placed")
    await fleet.topic("bet.won")
    placed: Heard[int] = Heard()
    won: Heard[int] = Heard()
    bus = fleet.bus()

    @bus.subscriber("bet.placed")
    async def on_placed(bet: Bet) -> None:
        placed.note(bet.bet_id)

    async def on_won(bet: Bet) -> None:
        won.note(bet.bet_id)

    async def publish(topic: str, first: int) -> None:
        for n in range(first, first + 50):
            await bus.publish(topic, Bet(bet_id=n), key=str(n))

    async with bus:
        publishing = asyncio.gather(publish("bet.placed", 0), publish("bet.won", 0))
        await placed.until(1)
        id = await bus.subscribe("bet.won", on_won)
        await publishing
        await placed.until(50)
        await won.until(50)

        assert await bus.unsubscribe(id) is True
        assert await bus.unsubscribe(id) is False
        await publish("bet.won", 50)
        await publish("bet.placed", 50)
        await placed.until(100)

        await bus.subscribe("bet.won", on_won)
        await won.until(100)
    assert Counter(placed.items) == dict.fromkeys(range(100), 1)
    assert Counter(won.items) == dict.fromkeys(range(100), 1)
    assert await fleet.all_is_committed("bet.placed")
    assert await fleet.all_is_committed("bet.won")


async def test_a_batch_is_handled_in_the_order_of_its_partition_and_only_its_poison_is_buried(
    fleet: Fleet,
) -> None:
    await fleet.topic("bet.placed", partitions=1)
    heard: Heard[list[int]] = Heard()
    bus = fleet.bus()

    @bus.subscriber("bet.placed", batch=Batch(max_records=10, max_wait_seconds=0.2), retry=Retry(attempts=1))
    async def handle(bets: list[Bet], deliveries: list[Delivery]) -> None:
        assert [bet.bet_id for bet in bets] == [delivery.offset for delivery in deliveries]
        if any(bet.bet_id == 13 for bet in bets):
            raise ValueError("13 brings bad luck")
        heard.note([bet.bet_id for bet in bets])

    async with bus:
        await bus.publish_many("bet.placed", [Bet(bet_id=n) for n in range(35)])
        async with asyncio.timeout(20):
            while sum(map(len, heard.items)) < 34:
                await heard.until(len(heard.items) + 1)
    handled = [bet_id for batch in heard.items for bet_id in batch]
    assert handled == [n for n in range(35) if n != 13]
    assert max(map(len, heard.items)) == 10
    (letter,) = await fleet.letters()
    assert letter.original_offset == 13
    assert await fleet.all_is_committed("bet.placed")


async def test_a_message_for_a_topic_that_does_not_exist_is_certainly_not_written(fleet: Fleet) -> None:
    fleet.needs("missing topics are refused")
    async with fleet.bus() as bus:
        with pytest.raises(PublishFailed, match=r"certainly not written.*KAFKA_CREATE_TOPICS=true"):
            await bus.publish("no.such.topic", Bet(bet_id=1))


async def test_a_tombstone_is_a_null_value_under_its_key(fleet: Fleet) -> None:
    await fleet.topic("users")
    heard: Heard[tuple[bytes | None, Bet | None]] = Heard()
    bus = fleet.bus()

    @bus.subscriber("users")
    async def handle(user: Bet | None, delivery: Delivery) -> None:
        heard.note((delivery.key, user))

    async with bus:
        await bus.publish("users", Bet(bet_id=7), key="7")
        await bus.tombstone("users", key="7")
        await heard.until(2)
    assert heard.items == [(b"7", Bet(bet_id=7)), (b"7", None)]
    assert [(r.key, r.value) for r in await fleet.records("users")][-1] == (b"7", None)


async def test_a_handler_in_a_thread_publishes_and_the_correlation_goes_on(fleet: Fleet) -> None:
    await fleet.topic("bet.placed")
    await fleet.topic("bet.noted")
    heard: Heard[tuple[int, str | None]] = Heard()
    bus = fleet.bus()

    @bus.subscriber("bet.placed")
    def note(bet: Bet, bus: Bus) -> None:
        receipt = bus.publish_sync("bet.noted", bet, key="ada")
        assert receipt.topic == fleet.on_wire("bet.noted")

    @bus.subscriber("bet.noted")
    async def hear(bet: Bet, delivery: Delivery) -> None:
        heard.note((bet.bet_id, delivery.correlation_id))

    async with bus:
        await bus.publish("bet.placed", Bet(bet_id=1), correlation_id="order-66")
        await heard.until(1)
    assert heard.items == [(1, "order-66")]
    (written,) = await fleet.records("bet.noted")
    assert header_text(written.headers, "correlation-id") == "order-66"


def _partitions(bus: MessageBus) -> int:
    """How many partitions a bus holds now."""
    return sum(len(worker.partitions) for worker in bus.status().workers)
