"""Contestants take turns, A B A B, each time in a new process; medians are taken over the rounds."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.job import FAILED, Job, Sample

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 300.0
LONGEST_REASON = 120
LONGEST_QUOTE = 2000


class Failed(Exception):
    """A contestant's process ended without a sample: `reason` in a line, and the end of what it said."""

    def __init__(self, who: str, reason: str, said: str = "") -> None:
        self.reason = reason[:LONGEST_REASON]
        super().__init__(f"{who}: {self.reason}\n{said}".rstrip())


@dataclass(frozen=True, slots=True)
class Played:
    """Every contestant's samples, one a round; or, of one that failed, why and nothing else."""

    samples: Mapping[str, Sequence[Sample]]
    failed: Mapping[str, str]


def play(jobs: Mapping[str, Job], rounds: int, tell: Callable[[str], None]) -> Played:
    """One that fails once is left out of the rounds that follow: what it did before proves nothing."""
    samples: dict[str, list[Sample]] = {name: [] for name in jobs}
    failed: dict[str, str] = {}
    for number in range(rounds):
        for name, job in jobs.items():
            if name in failed:
                continue
            try:
                (sample,) = measure(job)
            except Failed as failure:
                failed[name] = failure.reason
                del samples[name]
                tell(f"  {number + 1}/{rounds} {failure}")
            else:
                samples[name].append(sample)
                tell(f"  {number + 1}/{rounds} {name}: {sample['rate']:,.0f}/s")
    return Played(samples, failed)


def measure(*jobs: Job) -> list[Sample]:
    """Run these jobs one after another in one process of their own; raises `Failed`."""
    said = run(jobs)
    try:
        return [json.loads(line) for line in said.splitlines()]
    except ValueError:
        raise Failed(_names(jobs), "what it printed is no sample", said[-LONGEST_QUOTE:]) from None


def run(jobs: Sequence[Job], *options: str) -> str:
    """All that the jobs' process printed."""
    command = [sys.executable, "-m", "benchmarks.one", *[job.as_text() for job in jobs], *options]
    try:
        ran = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as expired:
        said = (expired.stderr or b"").decode(errors="replace")
        reason = f"not done after {PATIENCE_SECONDS:.0f} s"
        raise Failed(_names(jobs), reason, said[-LONGEST_QUOTE:]) from None
    if ran.returncode or not ran.stdout:
        told = [line.removeprefix(FAILED) for line in ran.stdout.splitlines() if line.startswith(FAILED)]
        reason = told[-1] if told else f"ended with {ran.returncode}"
        raise Failed(_names(jobs), reason, ran.stderr[-LONGEST_QUOTE:])
    return ran.stdout


def _names(jobs: Sequence[Job]) -> str:
    return ", ".join(f"{job.contestant} in {job.kind}" for job in jobs)


def medians(samples: Sequence[Sample]) -> Sample:
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}
