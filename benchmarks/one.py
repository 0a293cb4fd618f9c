"""Runs one job in this process and prints its sample as the last line: `python -m benchmarks.one JOB`.

With `--profile`, it prints before it where the time goes.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import pstats
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable

from benchmarks.contestants import contestant
from benchmarks.drivers import DRIVERS
from benchmarks.job import Job, Sample
from benchmarks.measuring import memory_mib, peak_mib

LINES = 45


def main() -> None:
    job = Job.from_text(sys.argv[1])
    if "--profile" not in sys.argv:
        print(json.dumps(run(job)))
        return
    profile = cProfile.Profile()
    sample = profile.runcall(run, job)
    pstats.Stats(profile).sort_stats("tottime").print_stats(LINES)
    print(json.dumps(sample))


def run(job: Job) -> Sample:
    """Measure; memory is told from the moment at which the contestant is imported."""
    measured = contestant(job.contestant)
    began = memory_mib()
    with asyncio.Runner(loop_factory=_loop_factory(job)) as runner:
        sample = runner.run(DRIVERS[job.kind](job, measured))
    return {"grown_mib": peak_mib() - began, **sample}


def _loop_factory(job: Job) -> Callable[[], AbstractEventLoop] | None:
    if job.loop == "asyncio":
        return None
    import uvloop

    factory: Callable[[], AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    main()
