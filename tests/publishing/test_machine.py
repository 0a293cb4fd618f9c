"""Whatever verdicts, deadlines and cancellations come: order, one outcome each, and no false claim."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import PublishFailed, PublishManyError, PublishUnknown
from convex_messaging_fastapi.publishing import Partitioner, Publisher
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import Verdict
from tests.publishing.fakes import FakeProducer, listed
from tests.support.eager import FACTORIES
from tests.support.examples import examples

T = TypeVar("T")
PARTITIONS = 2
TIMEOUTS = st.sampled_from([0.0, 0.05, 0.3, 1.0, 5.0, 60.0])
TURNS = 30  # a gate, a send, a caller: each hop is one turn, and no chain here is longer


@dataclass
class Published:
    """One call with its messages' values; `cancelled` when the test took its caller away."""

    values: list[bytes]
    task: asyncio.Task[Any]
    cancelled: bool = False


class Publishing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = self.new_loop()
        self.clock = ManualClock()
        self.producer = FakeProducer(PARTITIONS, fits=3)
        self.publisher = Publisher(self.producer, self.clock, Partitioner())
        self.calls: list[Published] = []
        self.number = 0
        self.run(self.publisher.start())

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    @rule(partition=st.integers(0, PARTITIONS - 1), timeout=TIMEOUTS)
    def publish(self, partition: int, timeout: float) -> None:
        message = self.message(None)
        self.begin([message], self.publisher.publish("t", message, timeout, partition))

    @rule(keys=st.lists(st.sampled_from([b"", b"a", b"b", None]), min_size=1, max_size=6), timeout=TIMEOUTS)
    def publish_many(self, keys: list[bytes | None], timeout: float) -> None:
        messages = [self.message(key) for key in keys]
        self.begin(messages, self.publisher.publish_many("t", listed(messages), timeout))

    @rule(verdicts=st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=4), lands=st.booleans())
    def answer(self, verdicts: list[Verdict], lands: bool) -> None:
        self.producer.script.extend(verdicts)
        self.producer.lands = lands

    @rule(at_once=st.booleans())
    def take_what_comes_alone_at_once_or_not(self, at_once: bool) -> None:
        self.producer.at_once = at_once

    @rule(fits=st.integers(1, 5))
    def change_what_fits(self, fits: int) -> None:
        self.producer.fits = fits

    @rule(opened=st.booleans())
    def hold_answers_back_or_let_them_go(self, opened: bool) -> None:
        (self.producer.gate.set if opened else self.producer.gate.clear)()
        self.turn()

    @rule(known=st.booleans())
    def hold_the_partition_count_back_or_tell_it(self, known: bool) -> None:
        (self.producer.counting.set if known else self.producer.counting.clear)()
        self.turn()

    @rule(seconds=st.sampled_from([0.05, 0.1, 0.5, 3.0, 40.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.turn()

    @precondition(lambda self: any(not call.task.done() for call in self.calls))
    @rule(data=st.data())
    def cancel_a_caller(self, data: st.DataObject) -> None:
        waiting = [call for call in self.calls if not call.task.done()]
        call = data.draw(st.sampled_from(waiting))
        call.cancelled = True
        call.task.cancel()
        self.turn()

    @invariant()
    def each_message_is_counted_once(self) -> None:
        status = self.publisher.status()
        assert status.pending + status.published + status.failed + status.unknown == self.number

    @invariant()
    def each_log_keeps_the_order_of_publishing(self) -> None:
        for log in self.producer.log.values():
            first_seen = list(dict.fromkeys(int(entry.value or b"") for entry in log))
            assert first_seen == sorted(first_seen)

    @invariant()
    def nobody_was_told_what_is_not_so(self) -> None:
        for call in self.calls:
            if call.task.done() and not call.cancelled:
                self.check(call)

    def teardown(self) -> None:
        try:
            self.stop_and_check()
        finally:
            self.loop.close()

    def stop_and_check(self) -> None:
        self.producer.gate.set()
        stopping = self.loop.create_task(self.publisher.stop(1))
        self.turn()
        while not stopping.done():
            self.clock.advance(self.clock.next_due() or 0)
            self.turn()
        stopping.result()
        assert all(call.task.done() for call in self.calls)
        assert self.clock.next_due() is None
        assert not asyncio.all_tasks(self.loop)
        self.nobody_was_told_what_is_not_so()
        self.each_message_is_counted_once()

    def check(self, call: Published) -> None:
        error = call.task.exception()
        outcomes: Sequence[object]
        if isinstance(error, PublishManyError):
            outcomes = [
                error.failed.get(i) or error.unknown.get(i) or at for i, at in enumerate(error.receipts)
            ]
        else:
            outcomes = [error] if error is not None else self.receipts(call)
        assert len(outcomes) == len(call.values)
        for value, outcome in zip(call.values, outcomes, strict=True):
            self.check_one(value, outcome)

    def check_one(self, value: bytes, outcome: object) -> None:
        if isinstance(outcome, Receipt):
            log = self.producer.log[TopicPartition("t", outcome.partition)]
            assert log[outcome.offset].value == value
        elif isinstance(outcome, PublishFailed):
            assert value not in self.producer.values("t")
        else:
            assert isinstance(outcome, PublishUnknown)

    def receipts(self, call: Published) -> list[Receipt]:
        result = call.task.result()
        return [result] if isinstance(result, Receipt) else result

    def message(self, key: bytes | None) -> OutgoingRecord:
        self.number += 1
        return OutgoingRecord(key, str(self.number).encode())

    def begin(self, messages: list[OutgoingRecord], publishing: Coroutine[Any, Any, Any]) -> None:
        task = self.loop.create_task(publishing)
        self.calls.append(Published([message.value or b"" for message in messages], task))
        self.turn()

    def turn(self) -> None:
        async def turns() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.run(turns())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)


class PublishingWithEagerTasks(Publishing):
    """The same, where a task runs before whoever makes it goes on."""

    def new_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().new_loop()
        loop.set_task_factory(list(FACTORIES.values())[-1])
        return loop


TestPublishing = Publishing.TestCase
TestPublishingWithEagerTasks = PublishingWithEagerTasks.TestCase
TestPublishing.settings = examples(100, steps=30)
TestPublishingWithEagerTasks.settings = TestPublishing.settings
