"""What this package is to reach, as ratios of medians of one run, so that no machine decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.job import Sample

Medians = Mapping[tuple[str, str], Sample]
"""The medians of every contestant of every workload, by (workload, contestant)."""


@dataclass(frozen=True, slots=True)
class Target:
    """`measure` raises `KeyError` when its workloads were not run."""

    workload: str
    sentence: str
    at_least: bool
    limit: float
    measure: Callable[[Medians], float]

    def reached(self, measured: float) -> bool:
        return measured >= self.limit if self.at_least else measured <= self.limit


def _faster(workload: str, than: str, limit: float) -> Target:
    def measure(medians: Medians) -> float:
        return medians[workload, "ours"]["rate"] / medians[workload, than]["rate"]

    return Target(workload, f"rate / {than}", True, limit, measure)


def _no_dearer(workload: str, than: str, limit: float) -> Target:
    """Of ours, by what a message takes."""

    def measure(medians: Medians) -> float:
        return medians[than, "ours"]["rate"] / medians[workload, "ours"]["rate"]

    return Target(workload, f"time a message / {than}", False, limit, measure)


def _as_quick(workload: str, name: str, limit: float) -> Target:
    def measure(medians: Medians) -> float:
        return medians[workload, "ours"][name] / medians[workload, "aiokafka"][name]

    return Target(workload, f"{name.removesuffix('_ms')} / aiokafka", False, limit, measure)


def _overhead_us(medians: Medians) -> float:
    ours, floor = (medians["pipeline", name]["rate"] for name in ("ours-pipeline", "floor"))
    return 1e6 / ours - 1e6 / floor


def _adds_less(how: str) -> Target:
    """What watching adds to a message of ours, as a part of what it adds to one of FastStream's."""

    def added_us(medians: Medians, whose: str) -> float:
        plain, watched = (medians["watched", f"{whose}-{name}"]["rate"] for name in ("pipeline", how))
        return 1e6 / watched - 1e6 / plain

    def measure(medians: Medians) -> float:
        return added_us(medians, "ours") / added_us(medians, "faststream")

    return Target("watched", f"{how}: what it adds / what FastStream's adds", False, 1, measure)


def _share_of_ideal(medians: Medians) -> float:
    return medians["consume-20ms", "ours"]["rate"] / (64 / 0.02)


def _grown(workload: str) -> Target:
    return Target(
        workload,
        "growth of memory, MiB",
        False,
        64,
        lambda medians: medians[workload, "ours"]["grown_mib"],
    )


TARGETS: tuple[Target, ...] = (
    _faster("consume", "aiokafka", 0.5),
    _faster("consume", "faststream", 7),
    _faster("consume", "faststream-ack", 70),
    Target("pipeline", "overhead over the floor, µs a message", False, 4, _overhead_us),
    _adds_less("prometheus"),
    _adds_less("traced"),
    _adds_less("unsampled"),
    _faster("publish-1000", "aiokafka", 2.2),
    _faster("publish-10000", "aiokafka", 20),
    _faster("publish-10000", "coalescing", 0.8),
    _faster("publish-many", "aiokafka", 2.5),
    _faster("publish-many-keyed", "aiokafka", 2.5),
    _faster("publish-many-100k", "aiokafka", 2.5),
    _no_dearer("publish-many-100k", "publish-many-keyed", 1.1),
    _as_quick("publish-1", "p50_ms", 1.1),
    Target("consume-20ms", "share of the ideal 64 / 20 ms", True, 0.9, _share_of_ideal),
    _as_quick("latency-200", "p50_ms", 1.2),
    _as_quick("latency-200", "p99_ms", 1.5),
    _grown("memory-waiting"),
    _grown("memory-draining"),
)
