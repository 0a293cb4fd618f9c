"""A guard against slowness: ratios to others on the same machine at the same time, with wide margins.

What is reached is what `make bench` says; here, only what no honest change could cost. Everything
runs in processes of their own, where no coverage is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.job import Job, Sample
from benchmarks.rounds import measure
from benchmarks.stage import Stage
from benchmarks.workloads import Backlog
from tools.kafka.cluster import Cluster

ROUNDS = 3
SMALL = Backlog(60_000)


def in_turns(one: Job, other: Job) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Both jobs, A B A B, after a first time of each that does not count."""
    samples = measure(*[job for _ in range(1 + ROUNDS) for job in (one, other)])
    return samples[2::2], samples[3::2]


def ratio(name: str, ones: Sequence[Sample], others: Sequence[Sample]) -> float:
    """Of the medians."""
    one, other = (statistics.median(sample[name] for sample in samples) for samples in (ones, others))
    return one / other


def test_what_the_bus_adds_to_a_message_is_small() -> None:
    """Processor time of the whole bus over memory, against validating and awaiting alone."""
    ours = Job("consume", "ours-pipeline", topic="guard", keys=1_000, count=30_000)
    floor = replace(ours, contestant="floor", count=150_000)
    assert ratio("cpu_us", *in_turns(ours, floor)) < 9


def test_a_crowd_of_publishers_is_faster_than_with_the_engine_alone(kafka: Cluster) -> None:
    stage = Stage(kafka)
    with stage.topic(12) as topic:
        ours = Job("concurrent", "ours", kafka.bootstrap, topic, concurrency=1_000, warm_up=0.2, seconds=0.5)
        mine, engine = in_turns(ours, replace(ours, contestant="aiokafka"))
    assert ratio("rate", mine, engine) > 1
    assert ratio("cpu_us", mine, engine) < 0.9


def test_a_backlog_is_handled_nearly_as_fast_as_the_engine_alone_can_read_it(kafka: Cluster) -> None:
    stage = Stage(kafka)
    topic = stage.filled(SMALL)
    try:
        ours = Job("consume", "ours", kafka.bootstrap, topic, count=SMALL.count)
        mine, engine = in_turns(ours, replace(ours, contestant="aiokafka"))
    finally:
        stage.let_go(set())
    assert ratio("cpu_us", mine, engine) < 4
