"""Contestants take turns, A B A B, each time in a new process; medians are taken over the rounds."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.job import Job, Sample

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 300.0


class Failed(Exception):
    """A contestant's process ended without a sample; the text is the end of what it said."""


def play(jobs: Mapping[str, Job], rounds: int, tell: Callable[[str], None]) -> dict[str, list[Sample]]:
    """Every contestant's samples, one a round."""
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    for number in range(rounds):
        for name, job in jobs.items():
            (sample,) = measure(job)
            samples[name].append(sample)
            tell(f"  {number + 1}/{rounds} {name}: {sample['rate']:,.0f}/s")
    return dict(samples)


def measure(*jobs: Job) -> list[Sample]:
    """Run these jobs one after another in one process of their own; raises `Failed`."""
    return [json.loads(line) for line in run(jobs).splitlines()]


def run(jobs: Sequence[Job], *options: str) -> str:
    """All that the jobs' process printed."""
    command = [sys.executable, "-m", "benchmarks.one", *[job.as_text() for job in jobs], *options]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    if ran.returncode or not ran.stdout:
        names = ", ".join(f"{job.contestant} in {job.kind}" for job in jobs)
        raise Failed(f"{names}:\n{ran.stderr[-2000:]}")
    return ran.stdout


def medians(samples: Sequence[Sample]) -> Sample:
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}
