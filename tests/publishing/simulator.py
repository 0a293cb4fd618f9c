"""Random lives of a publisher, each from a seed: a cluster that does all it may, callers that come and go.

A life ends kindly, or with a stop amid everything. `Life.live` raises `AssertionError` with what was
found; `Met` counts what lives met, for a simulator that meets nothing finds nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from convex_messaging_fastapi import clock
from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import (
    PublishFailed,
    PublishManyError,
    PublishUnknown,
    TopicUnavailable,
)
from convex_messaging_fastapi.publishing import Partitioner, Publisher, PublishLimits
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition, size_of
from convex_messaging_fastapi.transport.base import Contact, Problem, Sent, Verdict
from tests.publishing.fakes import listed
from tests.support.eager import FACTORIES

LIMITS = PublishLimits(message_bytes=600, pending_bytes=400_000, pending_dead_letter_bytes=2_000)
TOPICS = ("t", "u", "comes and goes")
LETTERS = "dlq"
OVER_OUR_LIMIT = bytes(LIMITS.message_bytes)
OVER_THE_TOPICS = b" is over the topic's"
STEPS = 150
MOST_TURNS = 400

Met = Counter[str]


class Stormy:
    """A producer transport that answers as any cluster may, as its dice say; `is_kind` ends that."""

    def __init__(self, dice: random.Random, its_clock: ManualClock, met: Met) -> None:
        self._dice = dice
        self._clock = its_clock
        self._met = met
        self.partitions = dict.fromkeys((*TOPICS, LETTERS), dice.choice([1, 2, 3]))
        self.log: dict[TopicPartition, list[bytes]] = defaultdict(list)
        self.is_kind = False
        self.is_running = False
        self._sending: set[TopicPartition] = set()
        self._alone: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.is_running = True

    async def stop(self, deadline: float) -> None:
        self.is_running = False
        for task in self._alone:
            task.cancel()
        await asyncio.gather(*self._alone, return_exceptions=True)

    def contact(self) -> Contact:
        problem = Problem.BROKER_UNREACHABLE if self._happens(0.3) else None
        return Contact(0.0, True, problem)

    def complaint(self, where: TopicPartition) -> str:
        return "a complaint" if self._happens(0.3) else ""

    async def partition_count(self, topic: str) -> int:
        await self._take_time()
        if self._happens(0.15):
            self._met["topics that are missing"] += 1
            raise TopicUnavailable("there is no such topic")
        if self._happens(0.05):
            self._met["counts that raise"] += 1
            raise ZeroDivisionError
        if self._happens(0.2) and self.partitions[topic] < 6:
            self._met["topics that grow"] += 1
            self.partitions[topic] += 1
        return self.partitions[topic]

    async def send(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        assert where not in self._sending, f"two sends to {where} at a time"
        assert where.partition < self.partitions[where.topic]
        assert records
        self._sending.add(where)
        try:
            return await self._answer(where, records)
        finally:
            self._sending.discard(where)

    def send_now(
        self, where: TopicPartition, record: OutgoingRecord, answered: Callable[[Sent], None]
    ) -> bool:
        if self._dice.random() < 0.5:
            return False
        self._met["records taken at once"] += 1
        task = asyncio.Task(self._send_alone(where, record, answered), loop=asyncio.get_running_loop())
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
        return True

    async def _send_alone(
        self, where: TopicPartition, record: OutgoingRecord, answered: Callable[[Sent], None]
    ) -> None:
        try:
            sent = await self.send(where, [record])
        except (ZeroDivisionError, asyncio.CancelledError) as error:
            sent = Sent(1, Verdict.UNKNOWN, reason=type(error).__name__)
        answered(sent)

    async def _answer(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        if OVER_THE_TOPICS in (records[0].value or b""):
            await self._take_time()
            self._met["records too large for their topic"] += 1
            return Sent(1, Verdict.TOO_LARGE, reason="too large")
        taken = records[: self._dice.randint(1, 9)] if self._dice.random() < 0.5 else records
        # A batch ends before a record that goes into none.
        fitting = next((n for n, r in enumerate(taken) if OVER_THE_TOPICS in (r.value or b"")), len(taken))
        taken = taken[:fitting]
        self._met["batches taken in part"] += len(taken) < len(records)
        await self._take_time()
        return self._judge(where, taken)

    def _judge(self, where: TopicPartition, taken: Sequence[OutgoingRecord]) -> Sent:
        verdict = self._draw_verdict()
        lands = verdict is Verdict.WRITTEN or (verdict is Verdict.UNKNOWN and self._dice.random() < 0.5)
        base = len(self.log[where])
        if lands:
            self.log[where] += [record.value or b"" for record in taken]
        self._met[
            f"batches {verdict.value}" + (", landed" if verdict is Verdict.UNKNOWN and lands else "")
        ] += 1
        if verdict is Verdict.WRITTEN:
            return Sent(len(taken), verdict, base, 1_767_225_600_000)
        if verdict is Verdict.UNKNOWN and self._happens(0.3):
            self._met["sends that raise"] += 1
            raise self._dice.choice([ZeroDivisionError(), asyncio.CancelledError()])
        return Sent(len(taken), verdict, reason=f"drawn {verdict.value}")

    def _draw_verdict(self) -> Verdict:
        if self.is_kind:
            return Verdict.WRITTEN
        verdicts = (Verdict.WRITTEN, Verdict.FAILED, Verdict.UNKNOWN, Verdict.REFUSED)
        return self._dice.choices(verdicts, (70, 12, 12, 6))[0]

    async def _take_time(self) -> None:
        """None at all, some turns of the loop, or some time on the clock."""
        drawn = self._dice.random()
        if drawn < 0.3:
            return
        if drawn < 0.7 or self.is_kind:
            for _ in range(self._dice.randint(1, 5)):
                await asyncio.sleep(0)
        else:
            await clock.sleep(self._clock, self._dice.choice([0.01, 0.3, 2.0, 20.0]))

    def _happens(self, share: float) -> bool:
        return not self.is_kind and self._dice.random() < share


class Life:
    """One publisher from its start to its stop."""

    def __init__(self, seed: int, met: Met) -> None:
        self._seed = seed
        self._dice = random.Random(seed)
        self._met = met
        self._clock = ManualClock()
        self._producer = Stormy(self._dice, self._clock, met)
        self._publisher = Publisher(self._producer, self._clock, Partitioner(), LIMITS)
        self._calls: list[asyncio.Task[None]] = []
        self._outcomes: dict[bytes, Receipt | BaseException] = {}
        self._published: list[bytes] = []
        self._number = 0

    def live(self) -> None:
        random.seed(self._seed)  # keyless messages begin at a partition by chance
        with asyncio.Runner() as runner:
            if self._dice.random() < 0.5:
                self._met["lives with eager tasks"] += 1
                runner.get_loop().set_task_factory(self._dice.choice(list(FACTORIES.values())))
            runner.run(self._live())

    async def _live(self) -> None:
        await self._publisher.start()
        for _ in range(STEPS):
            self._begin_some()
            await self._turn()
            self._cancel_some()
            self._clock.advance(self._dice.choice([0, 0, 0.05, 0.2, 1.0]))
        if self._dice.random() < 0.5:
            await self._end_kindly()
        else:
            self._met["stops amid everything"] += self._publisher.status().pending > 0
        await self._through_time(self._publisher.stop(self._dice.choice([0, 0.5, 5])))
        await self._turn()
        self._check_the_end()
        self._check_outcomes()
        self._check_order()

    # -- callers -------------------------------------------------------------------------------

    def _begin_some(self) -> None:
        for _ in range(self._dice.choice([0, 1, 1, 2, 12])):
            drawn = self._dice.random()
            call = self._publish() if drawn < 0.75 else self._publish_many() if drawn < 0.93 else self._bury()
            self._calls.append(asyncio.create_task(call))

    async def _publish(self) -> None:
        record, partition = self._record(), None
        if self._dice.random() < 0.2:
            partition = self._dice.randint(0, 3)
        publishing = self._publisher.publish(self._topic(), record, self._timeout(), partition)
        await self._note([record], publishing)

    async def _publish_many(self) -> None:
        records = [self._record() for _ in range(self._dice.choice([1, 3, 20, 60]))]
        publishing = self._publisher.publish_many(self._topic(), listed(records), self._timeout())
        await self._note(records, publishing)

    async def _bury(self) -> None:
        record = self._record()
        await self._note([record], self._write_letter(record, self._timeout()))

    async def _write_letter(self, record: OutgoingRecord, timeout: float) -> Receipt:
        async with self._publisher.room_for_dead_letter(LETTERS, size_of(record), timeout):
            return await self._publisher.publish(LETTERS, record, timeout, is_limited=False)

    def _record(self) -> OutgoingRecord:
        self._number += 1
        value = b"%d" % self._number
        drawn = self._dice.random()
        if drawn < 0.03:
            value += OVER_THE_TOPICS
        elif drawn < 0.05:
            value += OVER_OUR_LIMIT
        self._published.append(value)
        return OutgoingRecord(self._dice.choice([None, b"", b"a", b"b"]), value)

    def _topic(self) -> str:
        return self._dice.choice(TOPICS)

    def _timeout(self) -> float:
        return self._dice.choice([0.0, 0.3, 3.0, 20.0, 60.0, 60.0])

    async def _note(
        self, records: Sequence[OutgoingRecord], publishing: Coroutine[Any, Any, Receipt | list[Receipt]]
    ) -> None:
        """What became of each, as its caller was told."""
        told: Sequence[Receipt | BaseException]
        try:
            answer = await publishing
            told = answer if isinstance(answer, list) else [answer]
        except PublishManyError as error:
            told = [
                receipt or error.failed.get(index) or error.unknown[index]
                for index, receipt in enumerate(error.receipts)
            ]
        except (PublishFailed, PublishUnknown, asyncio.CancelledError) as error:
            told = [error] * len(records)
        assert len(told) == len(records)
        for record, outcome in zip(records, told, strict=True):
            value = record.value or b""
            assert value not in self._outcomes, "a second outcome"
            self._outcomes[value] = outcome
            self._met[f"outcomes {type(outcome).__name__}"] += 1
            self._met["messages without room"] += "max_pending_bytes" in str(outcome)

    def _cancel_some(self) -> None:
        running = [call for call in self._calls if not call.done()]
        if running and self._dice.random() < 0.3:
            self._dice.choice(running).cancel()

    # -- time ----------------------------------------------------------------------------------

    async def _turn(self) -> None:
        for _ in range(self._dice.choice([1, 2, 10])):
            await asyncio.sleep(0)

    async def _end_kindly(self) -> None:
        """The cluster is well again: whoever publishes now is acknowledged, wherever it goes."""
        self._producer.is_kind = True
        await self._through_time(asyncio.wait(self._calls))
        for topic, count in list(self._producer.partitions.items()):
            for partition in range(count):
                record = self._record()
                if len(record.value or b"") > 9:
                    continue
                publishing = self._publisher.publish(topic, record, 60, partition)
                await self._through_time(self._note([record], publishing))
                outcome = self._outcomes[record.value or b""]
                # A partition that was added within the last half minute need not be known.
                is_new = isinstance(outcome, PublishFailed) and "name one of these" in str(outcome)
                assert isinstance(outcome, Receipt) or is_new, f"{topic}/{partition}: {outcome}"

    async def _through_time(self, work: Coroutine[Any, Any, Any]) -> None:
        """Turn the clock, each time the loop has nothing to do, until `work` is done."""
        task = asyncio.create_task(work)
        for _ in range(MOST_TURNS):
            for _ in range(20):
                await asyncio.sleep(0)
            if task.done():
                task.result()
                return
            self._clock.advance(self._clock.next_due() or 0)
        raise AssertionError(f"{work} does not end")

    # -- what must hold ------------------------------------------------------------------------

    def _check_the_end(self) -> None:
        status = self._publisher.status()
        assert all(call.done() for call in self._calls)
        for call in self._calls:
            if not call.cancelled() and (error := call.exception()) is not None:
                raise error
        assert status.pending == 0
        assert self._publisher._outstanding.bytes == 0
        assert self._publisher._dead_letter_room._taken == 0
        assert status.published + status.failed + status.unknown <= len(self._published)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks that were left: {left}"
        assert self._clock.next_due() is None, "a timer that was left"

    def _check_outcomes(self) -> None:
        written = {value for log in self._producer.log.values() for value in log}
        for value, outcome in self._outcomes.items():
            if isinstance(outcome, Receipt):
                log = self._producer.log[TopicPartition(outcome.topic, outcome.partition)]
                assert log[outcome.offset] == value, "a receipt of another place"
            elif isinstance(outcome, PublishFailed):
                assert value not in written, f"told as unwritten, and in the log: {outcome}"

    def _check_order(self) -> None:
        """Of each partition, in the order in which publishing began; letters wait for their room first."""
        order = {value: place for place, value in enumerate(self._published)}
        for where, log in self._producer.log.items():
            if where.topic != LETTERS:
                arrived = [order[value] for value in dict.fromkeys(log)]
                assert arrived == sorted(arrived), f"out of order in {where}"
