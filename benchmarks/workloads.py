"""What is measured: every workload with its contestants, and the topics that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from benchmarks.job import Job
from benchmarks.messages import FULL_SIZE

PARTITIONS = 12
KEYS = 1_000
BACKLOG = 1_000_000
VAST_BACKLOG = 5_000_000

LATENCY_SECONDS = 20
"""At 200 messages a second the slowest hundredth of 6 s is a dozen: one pause of the machine decides it."""

Part = Literal["publishing", "publishing-many", "consuming", "watching", "latency", "memory"]


@dataclass(frozen=True, slots=True)
class Backlog:
    """A topic that is filled before it is read. Workloads that read the same one share it."""

    count: int
    partitions: int = PARTITIONS
    keys: int = KEYS
    size: int = 0
    headers: bool = True

    @property
    def topic(self) -> str:
        headers = "headers" if self.headers else "bare"
        return f"bench-backlog-{self.count}-{self.partitions}-{self.keys}-{self.size}-{headers}"


@dataclass(frozen=True, slots=True)
class Workload:
    """`contestants` are names, each with how many messages a second it is expected to handle.

    The expectation only says how many a job handles, so that it takes about `job.seconds`.
    """

    name: str
    part: Part
    title: str
    job: Job
    contestants: Mapping[str, float]
    partitions: int = PARTITIONS
    backlog: Backlog | None = field(default=None)

    def job_of(self, contestant: str, share: float) -> Job:
        """What that contestant is told; `share` shortens it."""
        seconds, warm_up = self.job.seconds * share, self.job.warm_up * share
        expected = int(self.contestants[contestant] * seconds)
        most = self.backlog.count if self.backlog is not None else expected
        return replace(
            self.job,
            contestant=contestant,
            seconds=seconds,
            warm_up=warm_up,
            count=max(100, min(most, expected)),
        )


_ONE_BY_ONE = dict.fromkeys(("ours", "aiokafka", "faststream", "fastkafka2", "confluent"), 0.0)
_BY_TURNS = _ONE_BY_ONE | {"coalescing": 0.0}
_MANY = dict.fromkeys(("ours", "aiokafka", "aiokafka-batch", "faststream", "fastkafka2", "confluent"), 0.0)
_CONSUMING = {
    "ours": 200_000.0,
    "aiokafka": 250_000.0,
    "faststream": 15_000.0,
    "faststream-ack": 1_500.0,
    "fastkafka2": 8_000.0,
    "confluent": 400_000.0,
}
_BOTH_ENGINES = {"ours": 200_000.0, "aiokafka": 250_000.0}

_PUBLISHED = Job("concurrent", concurrency=1_000)
_GIVEN = Job("many")
_READ = Job("consume", keys=KEYS, seconds=3)


def _publishing() -> list[Workload]:
    def at(
        name: str,
        title: str,
        job: Job,
        partitions: int = PARTITIONS,
        contestants: Mapping[str, float] = _ONE_BY_ONE,
    ) -> Workload:
        return Workload(name, "publishing", title, job, contestants, partitions)

    ten_thousand = replace(_PUBLISHED, concurrency=10_000, warm_up=2, seconds=6)
    return [
        at("publish-1", "one sequential publisher", Job("sequential")),
        at("publish-100", "100 concurrent publishers", replace(_PUBLISHED, concurrency=100)),
        at("publish-1000", "1,000 concurrent publishers", _PUBLISHED, contestants=_BY_TURNS),
        at("publish-1000-keyed", "1,000 publishers, 1,000 keys", replace(_PUBLISHED, keys=KEYS)),
        at(
            "publish-1000-bare",
            "1,000 publishers, others without headers",
            replace(_PUBLISHED, headers="none"),
        ),
        at(
            "publish-1000-fixed",
            "1,000 publishers, others with headers made once",
            replace(_PUBLISHED, headers="fixed"),
        ),
        at("publish-1000-1kib", "1,000 publishers, 1 KiB", replace(_PUBLISHED, size=FULL_SIZE)),
        at("publish-1000-p1", "1,000 publishers, 1 partition", _PUBLISHED, 1),
        at("publish-1000-p64", "1,000 publishers, 64 partitions", _PUBLISHED, 64),
        at("publish-1000-uvloop", "1,000 publishers, uvloop", replace(_PUBLISHED, loop="uvloop")),
        at("publish-10000", "10,000 concurrent publishers", ten_thousand, contestants=_BY_TURNS),
        at("publish-10000-p1", "10,000 publishers, 1 partition", ten_thousand, 1),
        at("publish-10000-p64", "10,000 publishers, 64 partitions", ten_thousand, 64),
    ]


def _publishing_many() -> list[Workload]:
    def at(name: str, title: str, job: Job, *, keyed: bool = False) -> Workload:
        contestants = {k: v for k, v in _MANY.items() if not (keyed and k == "aiokafka-batch")}
        return Workload(name, "publishing-many", title, job, contestants)

    fresh = replace(_GIVEN, keys=KEYS, fresh=True, seconds=6)
    at_once = replace(fresh, chunk=100_000)
    return [
        at("publish-many", "lists of 10,000", _GIVEN),
        at("publish-many-keyed", "lists of 10,000 made one by one, 1,000 keys", fresh, keyed=True),
        at("publish-many-100k", "lists of 100,000 made one by one, 1,000 keys", at_once, keyed=True),
        at("publish-many-bare", "lists of 10,000, others without headers", replace(_GIVEN, headers="none")),
        at(
            "publish-many-fixed",
            "lists of 10,000, others with headers made once",
            replace(_GIVEN, headers="fixed"),
        ),
        at("publish-many-1kib", "lists of 10,000, 1 KiB", replace(_GIVEN, size=FULL_SIZE)),
    ]


def _consuming() -> list[Workload]:
    def at(
        name: str,
        title: str,
        backlog: Backlog,
        contestants: Mapping[str, float] = _CONSUMING,
        job: Job = _READ,
    ) -> Workload:
        told = replace(job, keys=backlog.keys, size=backlog.size)
        return Workload(name, "consuming", title, told, contestants, backlog.partitions, backlog)

    full = Backlog(BACKLOG)
    pipeline = {"floor": 600_000.0, "ours-pipeline": 150_000.0, "faststream-pipeline": 25_000.0}
    return [
        at("consume", "empty handler", full, _CONSUMING | {"floor": 600_000.0}),
        at("consume-bare", "empty handler, no headers", Backlog(BACKLOG, headers=False)),
        at("consume-keyless", "empty handler, no keys", Backlog(BACKLOG, keys=0), _BOTH_ENGINES),
        at("consume-1kib", "empty handler, 1 KiB", Backlog(BACKLOG // 2, size=FULL_SIZE), _BOTH_ENGINES),
        at("consume-p1", "empty handler, 1 partition", Backlog(BACKLOG, 1), _BOTH_ENGINES),
        at("consume-p64", "empty handler, 64 partitions", Backlog(BACKLOG, 64), _BOTH_ENGINES),
        at("consume-uvloop", "empty handler, uvloop", full, _BOTH_ENGINES, replace(_READ, loop="uvloop")),
        _awaiting("consume-1ms", 0.001, Backlog(BACKLOG)),
        _awaiting("consume-20ms", 0.02, Backlog(BACKLOG // 10, keys=100)),
        Workload("pipeline", "consuming", "without a broker", replace(_READ, seconds=2), pipeline),
    ]


def _watching() -> list[Workload]:
    """The same work with and without an observer, so that what it adds can be told."""
    ours = {"ours-pipeline": 150_000.0, "ours-prometheus": 120_000.0}
    theirs = {"faststream-pipeline": 25_000.0, "faststream-prometheus": 15_000.0}
    traced = {"ours-traced": 20_000.0, "faststream-traced": 8_000.0}
    unsampled = {"ours-unsampled": 50_000.0, "faststream-unsampled": 12_000.0}
    contestants = {**ours, **theirs, **traced, **unsampled}
    return [Workload("watched", "watching", "without a broker", replace(_READ, seconds=2), contestants)]


def _awaiting(name: str, work: float, backlog: Backlog) -> Workload:
    side_by_side = 64
    title = f"a handler that awaits {work * 1000:g} ms, {backlog.keys} keys, {side_by_side} at once"
    job = Job("consume", keys=backlog.keys, concurrency=side_by_side, work=work, seconds=3)
    one, all_of_them = 1 / work, side_by_side / work
    expected = {
        "ours": min(all_of_them, 20_000.0),
        "aiokafka": one / 1.2,
        "faststream": one / 1.2,
        "faststream-workers": min(all_of_them, 8_000.0),
        "fastkafka2": min(PARTITIONS * one, 8_000.0),
    }
    return Workload(name, "consuming", title, job, expected, backlog.partitions, backlog)


def _latency() -> list[Workload]:
    contestants = dict.fromkeys(("ours", "aiokafka", "faststream"), 0.0)
    return [
        Workload(
            f"latency-{rate}",
            "latency",
            f"{rate:,} messages a second",
            Job("latency", rate=rate, keys=KEYS, seconds=LATENCY_SECONDS),
            contestants,
        )
        for rate in (200, 1_000)
    ]


def _memory() -> list[Workload]:
    vast = Backlog(VAST_BACKLOG)
    waits = Job("waiting", keys=KEYS, work=0.02, seconds=10)
    drains = Job("waiting", keys=KEYS, seconds=10)
    contestants = dict.fromkeys(("ours", "aiokafka"), float(VAST_BACKLOG))
    return [
        Workload("memory-waiting", "memory", "20 ms a message", waits, contestants, PARTITIONS, vast),
        Workload("memory-draining", "memory", "empty handler", drains, contestants, PARTITIONS, vast),
    ]


WORKLOADS: tuple[Workload, ...] = (
    *_publishing(),
    *_publishing_many(),
    *_consuming(),
    *_watching(),
    *_latency(),
    *_memory(),
)
