"""One topic of a publisher: how many partitions it has, and which one a message goes to."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from math import inf

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.publishing import publish_errors
from convex_messaging_fastapi.publishing.batches import PartitionQueue
from convex_messaging_fastapi.publishing.outstanding import Outstanding, due
from convex_messaging_fastapi.publishing.partitioner import Partitioner
from convex_messaging_fastapi.publishing.pending import Line, Pending, Several
from convex_messaging_fastapi.publishing.wake_pacing import WakePacing
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.tasks import later
from convex_messaging_fastapi.transport.base import ProducerTransport

REFRESH_SECONDS = 30.0
"""The next message asks again for a partition count older than this, without waiting for it."""

STICKY_RECORDS = 500


class Topic:
    """One topic as the publisher sees it. Messages wait here until its partitions are known.

    `unwanted` is called when the topic turned out not to exist.
    """

    def __init__(
        self,
        name: str,
        producer: ProducerTransport,
        clock: Clock,
        partitioner: Partitioner,
        outstanding: Outstanding,
        pacing: WakePacing,
        unwanted: Callable[[Topic], None],
    ) -> None:
        self.name = name
        self._producer = producer
        self._clock = clock
        self._partitioner = partitioner
        self._outstanding = outstanding
        self._unwanted = unwanted
        self._count: int | None = None
        self._stale_at = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._line = Line()
        self._queues = Queues(name, producer, clock, outstanding, pacing)
        self._sticky = Sticky(self._queues)

    @property
    def is_wanted(self) -> bool:
        """Whether the topic is known to exist, or messages wait for it."""
        if self._count is not None or len(self._line):
            return True
        return any(queue.load() or queue.task is not None for queue in self._queues)

    def append(self, message: Pending, now: float) -> None:
        count = self._count
        if count is None:
            self._line.append(message)
            self._ask()
            return
        if now >= self._stale_at:
            self._ask()
        if isinstance(message, Several):
            self._spread(message, count)
        elif message.partition is not None:
            self._route_to(message.partition, message, count)
        elif (key := message.record.key) is None:
            self._sticky.queue(count).append(message)
        else:
            self._queues.of(self._partitioner.partition(key, count)).append(message)

    def expire(self, until: float) -> float:
        """Settle what is due by `until`; returns the nearest deadline left."""
        overdue, nearest = due(self._line.waiting(), until)
        for message in overdue:
            error = publish_errors.overdue(message, repr(self.name), self._why_unknown())
            self._outstanding.settle(message, error)
        return min([nearest, *(queue.expire(until) for queue in self._queues)])

    def give_up(self) -> None:
        """Settle everything: the publisher stops."""
        for message in self._line.waiting():
            error = publish_errors.given_up(message, repr(self.name), self._why_unknown())
            self._outstanding.settle(message, error)
        for queue in self._queues:
            queue.give_up()

    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks that run for this topic now."""
        running = [self._asking, *(queue.task for queue in self._queues)]
        return [task for task in running if task is not None]

    def _ask(self) -> None:
        if self._asking is None:
            self._asking = later(self._learn(), f"partitions of {self.name}")

    async def _learn(self) -> None:
        try:
            self._know(await self._producer.partition_count(self.name))
        except TopicUnavailable as problem:
            self._forget(str(problem), problem.remedy)
        except Exception as problem:  # noqa: BLE001 - its traceback is logged
            reports.defect(f"asking for the partitions of {self.name} ended in an unexplained error", problem)
            self._forget(f"the transport raised {type(problem).__name__}", "the log has its traceback")
        finally:
            self._asking = None
            if self._count is None:
                self._unwanted(self)

    def _know(self, count: int) -> None:
        self._count = count
        now = self._clock.now()
        self._stale_at = now + REFRESH_SECONDS
        for message in self._line.take(len(self._line)).pending:
            self.append(message, now)

    def _forget(self, reason: str, remedy: str) -> None:
        self._count = None
        for message in self._line.waiting():
            self._outstanding.settle(message, publish_errors.no_topic(self.name, reason, remedy))

    def _spread(self, several: Several, count: int) -> None:
        """Each message of a list to its partition, those of one partition in their order."""
        shares = self._keyless(several, count) if several.call.is_keyless else self._keyed(several, count)
        parts = several.divide(*(indices for _, indices in shares))
        for (partition, _), part in zip(shares, parts, strict=True):
            self._queues.of(partition).append(part)

    def _keyed(self, several: Several, count: int) -> list[tuple[int, Sequence[int]]]:
        keys, partition = several.call.records.keys, self._partitioner.partition
        shares: dict[int, list[int]] = defaultdict(list)
        for index in several.indices:
            key = keys[index]
            chosen = self._sticky.take(count, 1)[0] if key is None else partition(key, count)
            shares[chosen].append(index)
        return list(shares.items())

    def _keyless(self, several: Several, count: int) -> list[tuple[int, Sequence[int]]]:
        shares: list[tuple[int, Sequence[int]]] = []
        left = several.indices
        while left:
            partition, messages = self._sticky.take(count, len(left))
            shares.append((partition, left[:messages]))
            left = left[messages:]
        return shares

    def _route_to(self, partition: int, message: Pending, count: int) -> None:
        if 0 <= partition < count:
            self._queues.of(partition).append(message)
        else:
            error = publish_errors.no_partition(self.name, partition, count)
            self._outstanding.settle(message, error)

    def _why_unknown(self) -> str:
        problem = self._producer.contact().problem
        unknown = "the cluster has not said how many partitions the topic has"
        if problem is None:
            return unknown
        return f"the producer is out of contact ({problem.value}; the log says more), and {unknown}"


class Queues:
    """The queues of one topic, each made when its partition is first written to."""

    def __init__(
        self,
        topic: str,
        producer: ProducerTransport,
        clock: Clock,
        outstanding: Outstanding,
        pacing: WakePacing,
    ) -> None:
        self._topic = topic
        self._producer = producer
        self._clock = clock
        self._outstanding = outstanding
        self._pacing = pacing
        self._queues: dict[int, PartitionQueue] = {}

    def __iter__(self) -> Iterator[PartitionQueue]:
        return iter(self._queues.values())

    def of(self, partition: int) -> PartitionQueue:
        queue = self._queues.get(partition)
        if queue is None:
            where = TopicPartition(self._topic, partition)
            queue = PartitionQueue(where, self._producer, self._clock, self._outstanding, self._pacing)
            self._queues[partition] = queue
        return queue

    def load(self, partition: int) -> int:
        """How many messages a partition has under way or waiting."""
        queue = self._queues.get(partition)
        return queue.load() if queue is not None else 0


class Sticky:
    """Keyless messages fill one partition's batch, then move on to the least busy partition."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._partition: int | None = None
        self._chosen: PartitionQueue | None = None
        self._given = 0
        self._batches = 0

    def queue(self, count: int) -> PartitionQueue:
        """The queue for the next keyless message, in a topic of `count` partitions."""
        chosen = self._chosen
        if chosen is None or self._given >= STICKY_RECORDS or chosen.batches != self._batches:
            chosen = self._move_on(count)
        self._given += 1
        return chosen

    def take(self, count: int, wanted: int) -> tuple[int, int]:
        """The same for several: their partition, and how many of them it gets."""
        chosen = self.queue(count)
        more = min(wanted - 1, STICKY_RECORDS - self._given)
        self._given += more
        return chosen.partition, 1 + more

    def _move_on(self, count: int) -> PartitionQueue:
        # The first is random, or the first message of every process would go to partition 0.
        first = random.randrange(count) if self._partition is None else self._partition + 1
        self._partition = self._least_busy(first, count)
        chosen = self._chosen = self._queues.of(self._partition)
        self._batches = chosen.batches
        self._given = 0
        return chosen

    def _least_busy(self, first: int, count: int) -> int:
        chosen, least = first % count, inf
        for step in range(count):
            partition = (first + step) % count
            load = self._queues.load(partition)
            if load < least:
                chosen, least = partition, load
            if not load:
                break  # a sequential publisher must not look at every partition for each message
        return chosen
