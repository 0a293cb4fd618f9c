"""The workloads as they run in a contestant's process: each drives one of its doors and measures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from benchmarks import messages
from benchmarks.contestants import Contestant, Handler, Publish, PublishMany
from benchmarks.job import Job, Kind, Sample
from benchmarks.measuring import Counter, between, memory_mib, moment, percentiles, window
from benchmarks.messages import UserCreated

PATIENCE_SECONDS = 120.0
LOOK_EVERY_SECONDS = 0.1


async def sequential(job: Job, contestant: Contestant) -> Sample:
    """One publisher that waits for each acknowledgement before the next message."""
    async with contestant.publisher(job) as publish:
        await _one_by_one(publish, job, job.warm_up)
        return await _one_by_one(publish, job, job.seconds)


async def _one_by_one(publish: Publish, job: Job, seconds: float) -> Sample:
    latencies: list[float] = []
    first = moment(0)
    while time.perf_counter() - first.seconds < seconds:
        number = len(latencies)
        event, key = messages.message(number, job.size), messages.key(number, job.keys)
        began = time.perf_counter()
        await publish(event, key)
        latencies.append(time.perf_counter() - began)
    return between(first, moment(len(latencies))) | percentiles(latencies)


async def concurrent(job: Job, contestant: Contestant) -> Sample:
    """Many publishers side by side, each with one message on its way at a time."""
    if job.contestant == "confluent":  # it has no publisher that waits without a thread of its own
        return await many(replace(job, chunk=job.concurrency), contestant)
    async with contestant.publisher(job) as publish:
        over, count = False, 0

        async def publish_on(number: int) -> None:
            nonlocal count
            event, key = messages.message(number, job.size), messages.key(number, job.keys)
            while not over:
                await publish(event, key)
                count += 1

        publishers = [asyncio.create_task(publish_on(number)) for number in range(job.concurrency)]
        sample = await window(lambda: count, job.warm_up, job.seconds)
        over = True
        await asyncio.gather(*publishers)
        return sample


async def many(job: Job, contestant: Contestant) -> Sample:
    """Lists of messages, each given at once, one list after another."""

    def made() -> list[UserCreated]:
        return [messages.message(number, job.size) for number in range(job.chunk)]

    once = made()
    next_list = made if job.fresh else lambda: once
    async with contestant.many(job) as publish_many:
        await _list_by_list(publish_many, next_list, job.warm_up)
        return await _list_by_list(publish_many, next_list, job.seconds)


async def _list_by_list(
    publish_many: PublishMany, next_list: Callable[[], list[UserCreated]], seconds: float
) -> Sample:
    first, count = moment(0), 0
    while time.perf_counter() - first.seconds < seconds:
        chunk = next_list()
        await publish_many(chunk)
        count += len(chunk)
    return between(first, moment(count))


async def consume(job: Job, contestant: Contestant) -> Sample:
    """A backlog, timed from a fifth of `count` to its end."""
    counter = Counter(job.count)
    async with contestant.consumer(job, _handler(counter, job.work)):
        await asyncio.wait_for(counter.done.wait(), PATIENCE_SECONDS)
    return counter.sample()


def _handler(counter: Counter, work: float) -> Handler:
    async def empty(event: UserCreated) -> None:
        counter.count += 1
        if counter.count == counter.mark:
            counter.reached()

    async def working(event: UserCreated) -> None:
        await asyncio.sleep(work)
        await empty(event)

    return working if work else empty


async def latency(job: Job, contestant: Contestant) -> Sample:
    """Messages at a steady rate, each timed from before `publish` to the handler's first line."""
    latencies: list[float] = []
    total = int(job.rate * (job.warm_up + job.seconds))
    everything = asyncio.Event()
    began = time.perf_counter_ns()

    async def handle(event: UserCreated) -> None:
        if event.user_id < began:
            return  # from another contestant's turn: the clock is the same in every process
        latencies.append((time.perf_counter_ns() - event.user_id) / 1e9)
        if len(latencies) == total:
            everything.set()

    async with contestant.consumer(job, handle), contestant.publisher(job) as publish:
        await _first_arrival(publish, latencies)
        total += len(latencies)
        first = moment(0)
        await _at_a_rate(publish, job, total - len(latencies))
        await asyncio.wait_for(everything.wait(), PATIENCE_SECONDS)
        whole = between(first, moment(total))
    return whole | percentiles(latencies[-int(job.rate * job.seconds) :])


async def _first_arrival(publish: Publish, arrived: list[float]) -> None:
    """Publish until the consumer has joined and hears it."""
    sent = 0
    while not arrived:
        await publish(messages.message(time.perf_counter_ns()), None)
        sent += 1
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    while len(arrived) < sent:  # noqa: ASYNC110 - nobody tells how many are still to come
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _at_a_rate(publish: Publish, job: Job, count: int) -> None:
    """Open loop: a slow answer delays no later message."""
    under_way: set[asyncio.Task[object]] = set()
    began = time.perf_counter()
    for number in range(count):
        if (early := began + number / job.rate - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(_publish_now(publish, messages.key(number, job.keys)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


async def _publish_now(publish: Publish, key: str | None) -> object:
    return await publish(messages.message(time.perf_counter_ns()), key)


async def waiting(job: Job, contestant: Contestant) -> Sample:
    """Memory while far more waits than is handled: how far its peak lies above where it began."""
    counter = Counter(job.count)
    began = highest = memory_mib()
    async with contestant.consumer(job, _handler(counter, job.work)):
        first = moment(0)
        while time.perf_counter() - first.seconds < job.seconds and not counter.done.is_set():
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            highest = max(highest, memory_mib())
        last = moment(counter.count)
    return between(first, last) | {"grown_mib": highest - began}


DRIVERS: dict[Kind, Callable[[Job, Contestant], Coroutine[Any, Any, Sample]]] = {
    "sequential": sequential,
    "concurrent": concurrent,
    "many": many,
    "consume": consume,
    "latency": latency,
    "waiting": waiting,
}
