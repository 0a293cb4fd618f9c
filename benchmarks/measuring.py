"""Rates, percentiles, processor time and memory, taken in the process that does the work.

The names in a sample: `rate` messages a second, `cpu_us` microseconds of processor time a message
(all threads of the process), `grown_mib` how far the peak of memory lies above where it began,
`p50_ms` and `p99_ms` latencies.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.job import Sample

_MIB = 1024 * 1024


class Moment(NamedTuple):
    messages: int
    seconds: float
    cpu: float


def moment(count: int) -> Moment:
    return Moment(count, time.perf_counter(), time.process_time())


def between(first: Moment, last: Moment) -> Sample:
    count = last.messages - first.messages
    return {
        "rate": count / (last.seconds - first.seconds),
        "cpu_us": (last.cpu - first.cpu) / max(count, 1) * 1e6,
    }


class Counter:
    """Counts handled messages, and notes the moments at a fifth of them and at the end."""

    def __init__(self, total: int) -> None:
        self.count = 0
        self.mark = max(1, total // 5)
        self.done = asyncio.Event()
        self._total = total
        self._moments: list[Moment] = []

    def reached(self) -> None:
        """To be called when `count` has come to `mark`."""
        self._moments.append(moment(self.count))
        self.mark = self._total if self.mark < self._total else -1
        if self.mark < 0:
            self.done.set()

    def sample(self) -> Sample:
        first, last = self._moments
        return between(first, last)


async def window(count: Callable[[], int], warm_up: float, seconds: float) -> Sample:
    """What happened in so many seconds after the warm-up; `count` says how many there were so far."""
    await asyncio.sleep(warm_up)
    first = moment(count())
    await asyncio.sleep(seconds)
    return between(first, moment(count()))


def percentiles(seconds: Sequence[float]) -> Sample:
    ordered = sorted(seconds)
    return {"p50_ms": at(ordered, 0.5) * 1000, "p99_ms": at(ordered, 0.99) * 1000}


def at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def memory_mib() -> float:
    """What this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_mib()
    return pages * resource.getpagesize() / _MIB


def peak_mib() -> float:
    """The most it ever held."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB
    # not ru_maxrss here, which counts the process that started this one
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
