"""What waits for one partition goes out together, in order, and nothing grows with the crowd."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import PublishError, PublishFailed, PublishUnknown
from convex_messaging_fastapi.publishing import Partitioner, Publisher, pending
from convex_messaging_fastapi.publishing.outstanding import Outstanding
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords, TopicPartition, size_of
from convex_messaging_fastapi.transport.base import Sent, Verdict
from tests.publishing.fakes import FakeProducer, listed, record, until

CROWD = 10_000


async def test_what_gathers_behind_one_send_goes_out_in_one_batch(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.gate.clear()
    tasks = [asyncio.create_task(publisher.publish("t", record(0), 10))]
    await until(producer.entered.is_set)
    tasks += [asyncio.create_task(publisher.publish("t", record(n), 10)) for n in range(1, 50)]
    await until(lambda: publisher.status().pending == 50)
    producer.gate.set()
    receipts = await asyncio.gather(*tasks)
    assert [offered for _, offered in producer.offers] == [1, 49]
    assert [at.offset for at in receipts] == list(range(50))


async def test_a_batch_that_fits_in_part_keeps_its_order_and_less_is_offered_next(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.fits = 30
    await publisher.publish_many("t", listed([record(n) for n in range(900)]), 10)
    assert producer.values("t") == [str(n).encode() for n in range(900)]
    assert [offered for _, offered in producer.offers][:2] == [900, 60]


async def test_a_record_is_put_together_only_when_the_transport_looks_at_it(
    publisher: Publisher, producer: FakeProducer
) -> None:
    looked_at: list[int] = []

    def record_of(index: int) -> OutgoingRecord:
        looked_at.append(index)
        return record(index)

    producer.fits = 30
    sizes = [size_of(record(index)) for index in range(900)]
    await publisher.publish_many("t", OutgoingRecords([None] * 900, sizes, record_of), 10)
    assert producer.values("t") == [str(n).encode() for n in range(900)]
    assert sorted(looked_at) == list(range(900)), "what did not fit was put together twice"


async def test_a_long_queue_is_offered_in_growing_batches(
    publisher: Publisher, producer: FakeProducer
) -> None:
    await publisher.publish_many("t", listed([record(n) for n in range(5_000)]), 10)
    producer.gate.clear()
    task = asyncio.create_task(publisher.publish_many("t", listed([record(n) for n in range(5_000)]), 10))
    await until(lambda: publisher.status().pending == 5_000)
    producer.gate.set()
    await task
    assert max(offered for _, offered in producer.offers) > 1_000


class Engine(FakeProducer):
    """Answers as aiokafka does: whoever waited is woken, and a moment later it sends what came meanwhile."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self._told = told

    async def send(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        loop = asyncio.get_running_loop()
        answered = loop.create_future()

        def answer() -> None:
            answered.set_result(None)
            loop.call_soon(loop.call_soon, self._told.append, "the engine sends")

        loop.call_soon(answer)
        await answered
        return await super().send(where, records)


async def test_the_engine_sends_what_waits_before_the_crowd_wakes(clock: ManualClock) -> None:
    told: list[str] = []
    publisher = Publisher(Engine(told), clock, Partitioner())
    await publisher.start()

    async def publish(number: int) -> None:
        await publisher.publish("t", record(number), 10)
        told.append("a caller goes on")

    await asyncio.gather(*(publish(number) for number in range(20)))
    assert told.index("the engine sends") < told.index("a caller goes on")
    await publisher.stop(1)


async def test_order_survives_failures_between(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.fits = 7
    producer.script.extend([Verdict.WRITTEN, Verdict.FAILED, Verdict.UNKNOWN, Verdict.FAILED])
    task = asyncio.create_task(publisher.publish_many("t", listed([record(n) for n in range(40)]), 100))

    def waits_to_try_again() -> bool:
        due = clock.next_due()
        return due is not None and due < 3

    for _ in range(3):
        await until(waits_to_try_again)
        clock.advance(clock.next_due() or 0)
    await task
    assert producer.values("t") == [str(n).encode() for n in range(40)]


async def test_one_message_that_the_cluster_never_takes_does_not_take_its_neighbours_along(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.poison = b"bad"
    values = [*map(str, range(10)), "bad", *map(str, range(11, 20))]
    timeouts = [30 if value == "bad" else 60 for value in values]
    tasks = [
        asyncio.create_task(publisher.publish("t", record(value), timeout))
        for value, timeout in zip(values, timeouts, strict=True)
    ]
    while not all(task.done() for task in tasks):
        await until(lambda: all(task.done() for task in tasks) or (clock.next_due() or 60) <= 2)
        clock.advance(clock.next_due() or 0)
    assert isinstance(tasks[10].exception(), PublishUnknown)
    assert producer.values("t") == [value.encode() for value in values if value != "bad"]
    assert all(task.exception() is None for task in tasks if task is not tasks[10])


async def test_partitions_do_not_wait_for_each_other(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.script.append(Verdict.FAILED)
    stuck = asyncio.create_task(publisher.publish("t", record("a"), 10, partition=0))
    await until(lambda: producer.offers)
    await publisher.publish("t", record("b"), 10, partition=1)
    assert not stuck.done()
    clock.advance(1)
    await stuck


async def test_ten_thousand_publishers_share_one_timer_and_few_sends(
    clock: ManualClock, producer: FakeProducer
) -> None:
    counted = CountingClock()
    publisher = Publisher(producer, counted, Partitioner())
    await publisher.start()
    tasks = [asyncio.create_task(publisher.publish("t", record(n), 10)) for n in range(CROWD)]
    await asyncio.gather(*tasks)
    assert counted.timers < 50
    assert len(producer.offers) < 50
    await publisher.stop(1)


async def test_ten_thousand_deadlines_at_once_look_at_each_message_a_few_times(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.gate.clear()
    looked = Counter[str]()
    records = [record(n) for n in range(CROWD)]
    tasks = [asyncio.create_task(publisher.publish("t", each, 5)) for each in records]
    await until(lambda: publisher.status().pending == CROWD and producer.entered.is_set())
    original = Outstanding.settle

    def counting(self, message, outcome):  # type: ignore[no-untyped-def]
        looked["settled"] += 1
        original(self, message, outcome)

    Outstanding.settle = counting  # type: ignore[method-assign]
    try:
        clock.advance(5.1)
    finally:
        Outstanding.settle = original  # type: ignore[method-assign]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert looked["settled"] == CROWD
    kinds = Counter(type(outcome) for outcome in outcomes)
    assert kinds == {PublishUnknown: 1_000, PublishFailed: CROWD - 1_000}


async def test_leaving_a_long_queue_one_by_one_is_linear() -> None:
    """Counted by the messages that rebuilding the queue walks over."""
    walked = 0

    class Watched(pending.Single):
        @property
        def outcome(self) -> Receipt | PublishError | None:
            nonlocal walked
            walked += 1
            return self._gone

        @outcome.setter
        def outcome(self, value: Receipt | PublishError | None) -> None:
            self._gone = value

    line = pending.Line()
    crowd = [Watched(record(n), 10, None, asyncio.Future(), 0) for n in range(CROWD)]
    for message in crowd:
        line.append(message)
    for message in crowd:
        message.outcome = PublishFailed("gone")
        line.step_out(1)
    assert len(line) == 0
    assert walked < 3 * CROWD


async def test_deadlines_that_differ_are_swept_in_steps_of_fifty_milliseconds(
    producer: FakeProducer,
) -> None:
    counted = CountingClock()
    publisher = Publisher(producer, counted, Partitioner())
    await publisher.start()
    producer.gate.clear()
    tasks = [
        asyncio.create_task(publisher.publish("t", record(n), 5 + n / 1_000, partition=0))
        for n in range(1_000)
    ]
    await until(lambda: publisher.status().pending == 1_000 and producer.entered.is_set())
    before = counted.timers
    counted.advance(6.1)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert counted.timers - before <= 22
    await publisher.stop(1)


async def test_deadlines_closer_together_than_a_sweep_share_the_next_one(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.gate.clear()

    async def lasts(*timeouts: float) -> list[asyncio.Task[Receipt]]:
        tasks = [asyncio.create_task(publisher.publish("t", record("a"), each)) for each in timeouts]
        await until(lambda: publisher.status().pending == len(tasks))
        return tasks

    (first,) = await lasts(0.05)
    clock.advance(0.05)
    await asyncio.wait([first])
    tasks = await lasts(0.01, 0.02)
    clock.advance(0.049)
    assert publisher.status().pending == 2
    clock.advance(0.002)
    assert publisher.status().pending == 0
    await asyncio.wait(tasks)
    assert all(task.exception() for task in [first, *tasks])


async def test_nothing_runs_once_nothing_is_pending(publisher: Publisher, clock: ManualClock) -> None:
    before = asyncio.all_tasks()
    await publisher.publish("t", record("a"), 10)
    await until(lambda: asyncio.all_tasks() == before)
    assert clock.next_due() is None
    assert publisher.status().pending == 0


class CountingClock(ManualClock):
    """Counts the timers that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = 0

    def call_later(self, seconds, callback):  # type: ignore[no-untyped-def]
        self.timers += 1
        return super().call_later(seconds, callback)
