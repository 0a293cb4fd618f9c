"""The contestants, each behind the same three doors, and what each of them guarantees.

A contestant is a module with some of `publisher(job)`, `many(job)` and `consumer(job, handler)`,
asynchronous context managers; it is imported only in the process that measures it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any, Protocol, cast

from benchmarks.job import Job
from benchmarks.messages import UserCreated

Publish = Callable[[UserCreated, str | None], Awaitable[object]]
"""Publish one message with a key, and return once it is acknowledged."""

PublishMany = Callable[[Sequence[UserCreated]], Awaitable[object]]
"""Publish these, and return once all of them are acknowledged."""

Handler = Callable[[UserCreated], Awaitable[None]]


class Contestant(Protocol):
    def publisher(self, job: Job) -> AbstractAsyncContextManager[Publish]: ...

    def many(self, job: Job) -> AbstractAsyncContextManager[PublishMany]: ...

    def consumer(self, job: Job, handler: Handler) -> AbstractAsyncContextManager[None]: ...


WATCHED = {
    "prometheus": "metrics for Prometheus",
    "traced": "a span a message, in batches to an exporter that drops them",
    "unsampled": "traced, and no trace is sampled",
}
"""How the pipeline of a contestant is watched, by what the package itself has for it."""

_MODULES = {
    "ours": "ours",
    "ours-pipeline": "ours_in_memory",
    "aiokafka": "raw_aiokafka",
    "aiokafka-batch": "raw_aiokafka_batch",
    "coalescing": "coalescing",
    "confluent": "raw_confluent",
    "faststream": "with_faststream",
    "faststream-ack": "with_faststream_ack",
    "faststream-workers": "with_faststream_workers",
    "faststream-pipeline": "with_faststream_pipeline",
    "fastkafka2": "with_fastkafka2",
    "floor": "floor",
    **dict.fromkeys((f"ours-{how}" for how in WATCHED), "ours_watched"),
    **dict.fromkeys((f"faststream-{how}" for how in WATCHED), "with_faststream_watched"),
}

PUBLISHING = {
    "ours": "acks=all, idempotent, in order a partition, three outcomes, a receipt each",
    "aiokafka": "`send_and_wait`: acks=all, idempotent, in order a partition",
    "faststream": "`publish`: acks=all, idempotent, in order a partition; log lines off",
    "confluent": "a ceiling: `produce`, then `flush`; acks=all, idempotent, no future a message",
    "fastkafka2": "`send_message`: acks=all, idempotent, in order a partition; linger 5 ms, its default",
    "coalescing": "a page over aiokafka: what one turn of the loop publishes goes out together; acks=all, "
    "idempotent, no receipts, deadlines or bounds",
}
PUBLISHING_MANY = PUBLISHING | {
    "aiokafka": "`send`, then `gather`: acks=all, idempotent, in order a partition",
    "aiokafka-batch": "`send_batch`, packed by hand, partitions in turn: acks=all, idempotent",
    "faststream": "`gather` of `publish`: acks=all, idempotent; log lines off",
    "fastkafka2": "`send_many`: acks=all, idempotent, in order a partition; tells the first error alone",
}
CONSUMING = {
    "ours": "at least once, in order a key, retries, dead letters",
    "aiokafka": "`getmany`, validated, one after another, positions committed every 5 s: "
    "at least once, no retries, no dead letters",
    "faststream": "`ACK_FIRST`, its default: may lose and may repeat; log lines off",
    "faststream-ack": "`ACK`: survives a crash, drops what raises; log lines off",
    "faststream-workers": "`ACK_FIRST` and as many `max_workers`: may lose, in no order; log lines off",
    "fastkafka2": "at least once, in order a partition, retries, a failed message pauses its partition; "
    "committed every 0.5 s",
    "confluent": "a ceiling: `consume(500)`, validated, committed every 5 s by librdkafka",
    "floor": "validate and await the handler, from memory",
    "ours-pipeline": "the whole bus over the memory transport: guarantees as `ours`",
    "faststream-pipeline": "`process_message` by itself: no consumer, no offsets; log lines off",
}
WATCHING = {name: CONSUMING[name] for name in ("floor", "ours-pipeline", "faststream-pipeline")} | {
    f"{whose}-{how}": f"`{whose}-pipeline` with {what}"
    for whose in ("ours", "faststream")
    for how, what in WATCHED.items()
}


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` meanwhile and cancel it in the end; what it raises is raised here, at once."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        task.cancel()


def contestant(name: str) -> Contestant:
    module = import_module(f"benchmarks.contestants.{_MODULES[name]}")
    return cast("Contestant", module)
