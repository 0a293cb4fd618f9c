"""Runs a job in this process and prints its sample as the last line: `python -m benchmarks.one JOB`.

Of several jobs each sample has a line. With `--profile`, where the time goes is printed before it.
A job that fails says why in one line; its traceback goes to stderr.
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
from benchmarks.job import FAILED, Job, Sample
from benchmarks.measuring import memory_mib, peak_mib

PROFILE = "--profile"
LINES = 45


def main() -> None:
    jobs = [Job.from_text(text) for text in sys.argv[1:] if text != PROFILE]
    measure = _profiled if PROFILE in sys.argv else run
    for job in jobs:
        try:
            print(json.dumps(measure(job)))
        except Exception as error:
            print(f"{FAILED}{_in_a_line(error)}")
            raise


def _in_a_line(error: Exception) -> str:
    """The engine's errors say their name themselves."""
    name, said = type(error).__name__, " ".join(str(error).split())
    return said if said.startswith(name) else f"{name}: {said}"


def _profiled(job: Job) -> Sample:
    profile = cProfile.Profile()
    sample = profile.runcall(run, job)
    pstats.Stats(profile).sort_stats("tottime").print_stats(LINES)
    return sample


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
