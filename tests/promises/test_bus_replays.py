"""What stands in a group's replay topic is handled once, by the subscription that failed, as the original."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from convex_messaging_fastapi import Batch, Delivery, MessageBus, Retry
from convex_messaging_fastapi.messages.copies import ReplayMarks, copy_for_handler
from convex_messaging_fastapi.messages.topics import replay_topic
from convex_messaging_fastapi.operations import Filter
from convex_messaging_fastapi.records import Headers, OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.verdicts import ready
from tests.promises.fleet import Bet, Fleet, Heard
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("topics_are_soon_found")

ONCE = Retry(attempts=1)
TRACE: Headers = (
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", b"a=1"),
)
NO_SUCH_HANDLER = "convex_messaging_fastapi.errors.NoSuchHandler"


class Replayer:
    """Writes copies by hand into the replay topic of one group."""

    def __init__(self, fleet: Fleet, group: str | None = None) -> None:
        self.fleet = fleet
        self.group = group or fleet.group
        self.topic = replay_topic(fleet.prefix, self.group)
        self._written = 0

    async def create(self, partitions: int = 2) -> None:
        await self.fleet.witness.create(self.topic, partitions, {})

    async def copy(self, original: Record, handler: str, *, group: str | None = None, count: int = 1) -> None:
        marks = ReplayMarks(count, f"{self.fleet.prefix}.dlq/0/{self._written}", "job-1", "ada")
        await self.write(copy_for_handler(original, group or self.group, handler, marks))

    async def write(self, record: OutgoingRecord) -> None:
        self._written += 1
        await self.fleet.witness.write(TopicPartition(self.topic, self._written % 2), record)

    async def all_is_committed(self) -> bool:
        ends = await self.fleet.witness.ends(self.topic)
        committed = await self.fleet.witness.committed(self.group, self.topic)
        return all(committed.get(partition) == end for partition, end in ends.items() if end)


@pytest.fixture
async def replayer(fleet: Fleet) -> Replayer:
    replayer = Replayer(fleet)
    await replayer.create()
    return replayer


def handling(heard: Heard[tuple[str, Record]], name: str) -> Callable[..., Any]:
    async def handle(message: dict[str, Any], delivery: Delivery) -> None:
        heard.note((name, delivery.record))

    return handle


async def originals(fleet: Fleet, count: int, topic: str = "orders", headers: Headers = ()) -> list[Record]:
    """Records that nobody could handle, as dead letters tell of them: numbered from 0."""
    offsets = [
        await fleet.write(topic, b'{"BetId":%d}' % n, key=b"k%d" % n, headers=headers) for n in range(count)
    ]
    return [r for r in await fleet.records(topic) if r.partition == 0 and r.offset in offsets]


async def test_a_copy_is_handled_once_by_the_subscription_that_failed(
    fleet: Fleet, replayer: Replayer
) -> None:
    await fleet.topic("orders")
    heard: Heard[tuple[str, Record]] = Heard()
    bus = fleet.bus()
    broken = True

    @bus.subscriber("orders", id="charge", retry=ONCE)
    async def charge(bet: Bet, delivery: Delivery) -> None:
        if broken:
            raise ValueError("no money")
        heard.note(("charge", delivery.record))

    bus.subscriber("orders", id="sibling")(handling(heard, "sibling"))
    bus.subscriber("orders", id="other group", group=f"{fleet.group}-2")(handling(heard, "other group"))
    async with bus:
        records = await originals(fleet, 5, headers=TRACE)
        await heard.until(10)
        await eventually(lambda: buried(bus) == 5, 10, "five dead letters")
        broken = False
        for record in records:
            await replayer.copy(record, "charge")
        await heard.until(15)
    told = [record for name, record in heard.items if name == "charge"]
    assert sorted(record[:6] for record in told) == sorted(record[:6] for record in records)
    for record in told:
        names = [name for name, _ in record.headers]
        assert names[:3] == ["x-convex-replay-count", "x-convex-replay-letter", "x-convex-replay-job"]
        assert record.headers[3:] == TRACE
    assert len(heard.items) == 15
    assert await replayer.all_is_committed()
    assert await fleet.all_is_committed("orders")


def buried(bus: MessageBus) -> int:
    return sum(sub.buried for worker in bus.status().workers for sub in worker.subscriptions)


async def test_a_second_failure_has_a_letter_of_its_own_about_the_same_original(
    fleet: Fleet, replayer: Replayer
) -> None:
    await fleet.topic("orders", partitions=1)
    bus = fleet.bus()

    @bus.subscriber("orders", id="charge", retry=ONCE)
    async def charge(bet: Bet) -> None:
        raise ValueError("no money")

    async with bus:
        [record] = await originals(fleet, 1, headers=(("message-id", b"m-1"), *TRACE))
        await eventually(lambda: buried(bus) == 1, 10, "a dead letter")
        await replayer.copy(record, "charge")
        await eventually(lambda: buried(bus) == 2, 10, "another")
    first, second = sorted(await fleet.letters(), key=lambda letter: letter.replay_count)
    assert (first.replay_count, second.replay_count) == (0, 1)
    for letter in (first, second):
        assert (letter.original_topic, letter.original_partition) == (record.topic, record.partition)
        assert (letter.original_offset, letter.original_timestamp) == (
            record.offset,
            first.original_timestamp,
        )
        assert (letter.handler, letter.consumer_group, letter.message_id) == ("charge", fleet.group, "m-1")
        assert letter.original_headers()[-3:] == record.headers
    ids = {dict(letter.headers)["message-id"] for letter in await fleet.records("dlq")}
    assert len(ids) == 2
    replayed = dict(second.original_headers())
    assert replayed["x-convex-replay-letter"] == f"{fleet.prefix}.dlq/0/0".encode()
    assert not {"x-convex-original", "x-convex-replay-group", "x-convex-replay-by"} & replayed.keys()


async def test_what_fails_each_time_is_replayed_three_times_and_not_a_fourth(
    fleet: Fleet, replayer: Replayer
) -> None:
    """By `bus.operations` itself, and each time the letter is another about the same message."""
    await fleet.topic("orders", partitions=1)
    await fleet.topic("dlq", partitions=1)
    bus = fleet.bus()

    @bus.subscriber("orders", id="charge", retry=ONCE)
    async def charge(bet: Bet) -> None:
        raise ValueError("no money")

    async with bus:
        await originals(fleet, 1)
        for replays in range(1, 4):
            await eventually(lambda: buried(bus) == replays, 20, "a dead letter")  # noqa: B023
            begun = await bus.operations.replay(by="ada", dry_run=False)
            assert (await bus.operations.wait_for(begun.id)).done == 1
        await eventually(lambda: buried(bus) == 4, 20, "the last one")
        planned = await bus.operations.replay(by="ada")
        fourth = await bus.operations.replay(by="ada", dry_run=False)
        fourth = await bus.operations.wait_for(fourth.id)
        states = [each.state for each in (await bus.operations.dead_letters(Filter(state="all"))).letters]
    assert planned.refused == fourth.refused == {"too_many_replays": 1}
    assert (planned.selected, fourth.done) == (1, 0)
    assert sorted(letter.replay_count for letter in await fleet.letters()) == [0, 1, 2, 3]
    assert sorted(states) == ["failed_again"] * 3 + ["open"]


async def test_a_batch_handler_and_a_queue_get_theirs_too(fleet: Fleet, replayer: Replayer) -> None:
    await fleet.topic("orders")
    await fleet.topic("settle")
    await fleet.topic("payouts", partitions=1)
    queue = Replayer(fleet, f"{fleet.prefix}.settle")
    await queue.create()
    heard: Heard[tuple[str, int]] = Heard()
    bus = fleet.bus()

    @bus.subscriber("orders", id="batches", batch=Batch(4, 0.2), filter=lambda delivery: False)
    async def batches(bets: list[Bet]) -> None:
        for bet in bets:
            heard.note(("batches", bet.bet_id))

    @bus.receiver("settle", id="receiver")
    async def receiver(bet: Bet) -> None:
        heard.note(("receiver", bet.bet_id))

    async with bus:
        for record in await originals(fleet, 8):
            await replayer.copy(record, "batches")
        for record in await originals(fleet, 8, "payouts"):
            await queue.copy(record, "receiver")
        await heard.until(16)
        # Nothing of the topic itself was wanted, and whatever was replayed was wanted before.
        await eventually(lambda: filtered(bus) == 8, 10, "what the filter has passed over")
    assert sorted(heard.items) == [(name, n) for name in ("batches", "receiver") for n in range(8)]
    assert await replayer.all_is_committed()
    assert await queue.all_is_committed()
    assert await fleet.letters() == []


def filtered(bus: MessageBus) -> int:
    return sum(sub.filtered for worker in bus.status().workers for sub in worker.subscriptions)


async def test_groups_whose_topics_have_one_name_handle_their_own_copies(fleet: Fleet) -> None:
    await fleet.topic("orders")
    short, long = "payments", f"{fleet.prefix}.payments"
    replayers = [Replayer(fleet, group) for group in (short, long)]
    assert replayers[0].topic == replayers[1].topic
    await replayers[0].create()
    heard: Heard[tuple[str, Record]] = Heard()
    buses = [fleet.bus(consumer_group=group) for group in (short, long)]
    for bus, group in zip(buses, (short, long), strict=True):
        bus.subscriber("orders", id="charge")(handling(heard, group))
    async with buses[0], buses[1]:
        records = await originals(fleet, 4)
        await heard.until(8)
        for n, record in enumerate(records):
            await replayers[0].copy(record, "charge", group=(short, long)[n % 2])
        await heard.until(12)
    told = sorted((name, record.offset) for name, record in heard.items[8:])
    assert told == sorted([(short, 0), (long, 1), (short, 2), (long, 3)])
    for replayer in replayers:
        assert await replayer.all_is_committed(), replayer.group
    assert await fleet.letters() == []


async def test_a_group_that_makes_no_topic_s_name_has_its_replays_too(fleet: Fleet) -> None:
    await fleet.topic("orders")
    group = f"{fleet.prefix}:eu:bets"
    replayer = Replayer(fleet, group)
    await replayer.create()
    heard: Heard[tuple[str, Record]] = Heard()
    bus = fleet.bus(consumer_group=group)
    bus.subscriber("orders", id="charge")(handling(heard, "charge"))
    async with bus:
        [record] = await originals(fleet, 1)
        await heard.until(1)
        await replayer.copy(record, "charge")
        assert [told.offset for _, told in await heard.until(2)] == [record.offset] * 2
    assert await replayer.all_is_committed()


async def test_the_first_replay_into_a_group_that_begins_at_the_end_is_handled_whole(fleet: Fleet) -> None:
    """Its topic is made while the group runs, and copies stand in it before the group can know of it."""
    await fleet.topic("orders")
    replayer = Replayer(fleet)
    heard: Heard[tuple[str, Record]] = Heard()
    bus = fleet.bus(auto_offset_reset="latest")
    bus.subscriber("orders", id="charge")(handling(heard, "charge"))
    records = await originals(fleet, 10)
    async with bus:
        await eventually(lambda: ready(bus.status()).status == "up", 15, "the bus to be ready")
        await replayer.create()
        for record in records:
            await replayer.copy(record, "charge")
        await heard.until(10)
    assert sorted(told.offset for _, told in heard.items) == sorted(record.offset for record in records)
    assert await replayer.all_is_committed()


async def test_without_the_topic_a_bus_is_ready_and_says_nothing_of_it(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    await fleet.topic("orders", partitions=1)
    heard: Heard[tuple[str, Record]] = Heard()
    bus = fleet.bus()
    bus.subscriber("orders", id="charge")(handling(heard, "charge"))
    async with bus:
        await originals(fleet, 1)
        await heard.until(1)
        assert ready(bus.status()) == replace(ready(bus.status()), ok=True, status="up", reasons=())
        [worker] = bus.status().workers
        assert worker.topics == (fleet.on_wire("orders"),)
        assert len(worker.partitions) == 1
    assert fleet.witness.limit(replay_topic(fleet.prefix, fleet.group)) is None
    assert not [line for line in caplog.messages if ".replay" in line]


@pytest.mark.parametrize("dead_letter", ["bury", "hold", "discard"])
async def test_a_copy_whose_handler_is_gone_is_buried_again(
    fleet: Fleet, replayer: Replayer, dead_letter: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await fleet.topic("orders")
    heard: Heard[tuple[str, Record]] = Heard()
    bus = fleet.bus()
    bus.subscriber("orders", id="charge", dead_letter=dead_letter)(handling(heard, "charge"))
    [record] = await originals(fleet, 1)
    with caplog.at_level(logging.ERROR):
        async with bus:
            await heard.until(1)
            await replayer.copy(record, "renamed", count=2)
            await eventually(lambda: buried(bus) == 1, 10, "its dead letter")
    [letter] = await fleet.letters()
    assert (letter.original_topic, letter.original_offset) == (record.topic, record.offset)
    assert (letter.handler, letter.exception_type) == ("renamed", NO_SUCH_HANDLER)
    assert (letter.replay_count, letter.attempts) == (2, 0)
    assert letter.original_value() == record.value
    assert await replayer.all_is_committed()
    assert [line for line in caplog.messages if "renamed" in line]


STRANGE: dict[str, Headers] = {
    "nothing": (),
    "no place": (("x-convex-replay-handler", b"charge"), ("x-convex-original", b"\xff/0/0/0")),
    "a dead letter's place": (
        ("x-convex-replay-handler", b"charge"),
        ("x-convex-original", b"any.dlq/0/0/0"),
        ("x-convex-replay-count", b"9" * 70_000),
        ("x-convex-replay-job", b"\x00" * 1000),
    ),
    "nulls": tuple((f"x-convex-replay-{name}", None) for name in ("group", "handler", "count", "letter")),
    "very many headers": tuple((f"h{n}", b"") for n in range(1000)),
}


async def test_whatever_somebody_writes_there_is_handled_or_buried(fleet: Fleet, replayer: Replayer) -> None:
    await fleet.topic("orders")
    heard: Heard[Record] = Heard()
    bus = fleet.bus()

    @bus.subscriber("orders", id="charge", retry=ONCE)
    async def charge(message: dict[str, Any], delivery: Delivery) -> None:
        heard.note(delivery.record)
        raise ValueError("no money")

    async with bus:
        for headers in STRANGE.values():
            await replayer.write(OutgoingRecord(b"k", b"{}", headers))
        await replayer.write(OutgoingRecord(None, None, STRANGE["no place"]))
        await eventually(lambda: buried(bus) == len(STRANGE) + 1, 10, "each to be buried")
    assert len(heard.items) == 2
    assert await replayer.all_is_committed()


async def test_copies_are_not_lost_with_the_process_that_has_them(fleet: Fleet, replayer: Replayer) -> None:
    """A stop in the middle: the next one handles what is left, and no more."""
    await fleet.topic("orders")
    heard: Heard[tuple[str, Record]] = Heard()
    records = await originals(fleet, 20)
    for record in records:
        await replayer.copy(record, "charge")
    for count in (1, 20):
        bus = fleet.bus(concurrency=1)

        @bus.subscriber("orders", id="charge")
        async def charge(bet: Bet, delivery: Delivery) -> None:
            if "x-convex-replay-count" in delivery.headers:
                heard.note(("charge", delivery.record))

        async with bus:
            await heard.until(count)
    assert sorted(record.offset for _, record in heard.items) == sorted(record.offset for record in records)
