"""`make bench`: runs the workloads on one real broker and writes a table, JSON and a plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from benchmarks import plot, report
from benchmarks.job import Job
from benchmarks.quoting import put_into_page
from benchmarks.report import Outcome
from benchmarks.rounds import ROOT, measure, medians, play, run
from benchmarks.stage import Stage, set_up
from benchmarks.targets import TARGETS
from benchmarks.workloads import WORKLOADS, Backlog, Workload

FULL = ROOT / "benchmarks" / "results"
PARTIAL = ROOT / "build" / "bench"
QUICK_SHARE = 0.2
ROUNDS, ROUNDS_OF_TARGETS = 3, 5
WARMING = "publish-many"
OURS = "ours"


def main() -> None:
    options = _options()
    chosen = [narrowed(each, options) for each in WORKLOADS if _is_wanted(each.name, options.only)]
    if options.list or not chosen:
        print("\n".join(f"{each.name:20} {each.title}: {', '.join(each.contestants)}" for each in chosen))
        return
    with set_up() as stage:
        if options.profile:
            _profile(stage, chosen, options)
            return
        print(f"{stage.cluster.origin}; {len(chosen)} workloads", flush=True)
        _warm_the_broker(stage)
        outcomes = [_measure(stage, chosen, number, options) for number in range(len(chosen))]
        told = report.conditions(stage.cluster.origin)
    whole = len(chosen) == len(WORKLOADS) and not options.quick and not options.contestants
    _write(Path(options.out) if options.out else FULL if whole else PARTIAL, told, outcomes)
    if whole and not options.out:
        put_into_page(FULL / "results.json")
    if any(name.startswith(OURS) for outcome in outcomes for name in outcome.failed):
        sys.exit("this package failed in a workload: the table says in which, and why")


def _warm_the_broker(stage: Stage) -> None:
    """Java runs its code for the first time slowly, and whoever comes first would pay for it."""
    workload = next(each for each in WORKLOADS if each.name == WARMING)
    with stage.set_for(workload) as topic:
        for kind in ("many", "sequential", "latency"):
            job = Job(kind, "aiokafka", stage.cluster.bootstrap, topic, rate=100, seconds=3)
            measure(job)


def narrowed(workload: Workload, options: argparse.Namespace) -> Workload:
    """The workload with the wanted contestants, and small where it need not be exact."""
    kept = {k: v for k, v in workload.contestants.items() if _is_wanted(k, options.contestants)}
    backlog = workload.backlog
    if options.quick and backlog is not None:
        backlog = replace(backlog, count=backlog.count // 5)
    return replace(workload, contestants=kept, backlog=backlog)


def _measure(stage: Stage, chosen: Sequence[Workload], number: int, options: argparse.Namespace) -> Outcome:
    workload = chosen[number]
    print(f"{workload.name}: {workload.title}", flush=True)
    with stage.set_for(workload) as topic:
        jobs = {name: replace(job, topic=topic) for name, job in _jobs(stage, workload, options).items()}
        played = play(jobs, options.rounds or rounds_of(workload), lambda line: print(line, flush=True))
    stage.let_go(_needed(chosen[number + 1 :]))
    return Outcome(workload, played.samples, played.failed)


def rounds_of(workload: Workload) -> int:
    """More of those that something is demanded of: one disturbed round must not decide it."""
    return ROUNDS_OF_TARGETS if any(target.workload == workload.name for target in TARGETS) else ROUNDS


def _jobs(stage: Stage, workload: Workload, options: argparse.Namespace) -> dict[str, Job]:
    share = QUICK_SHARE if options.quick else 1.0
    return {
        name: replace(workload.job_of(name, share), bootstrap=stage.cluster.bootstrap)
        for name in workload.contestants
    }


def _profile(stage: Stage, chosen: Sequence[Workload], options: argparse.Namespace) -> None:
    """Show where the time of each job goes, instead of measuring it."""
    for workload in chosen:
        with stage.set_for(workload) as topic:
            for name, job in _jobs(stage, workload, options).items():
                print(
                    f"=== {workload.name}, {name}\n{run([replace(job, topic=topic)], '--profile')}",
                    flush=True,
                )


def _needed(workloads: Sequence[Workload]) -> set[Backlog]:
    return {workload.backlog for workload in workloads if workload.backlog is not None}


def _write(folder: Path, told: dict[str, str], outcomes: Sequence[Outcome]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = report.as_table(told, outcomes)
    panels = [
        (f"{outcome.workload.name}: {outcome.workload.title}", rates)
        for outcome in outcomes
        if outcome.workload.part not in ("latency", "memory") and (rates := _rates(outcome))
    ]
    (folder / "results.md").write_text(table)
    (folder / "results.json").write_text(report.as_json(told, outcomes))
    if panels:
        (folder / "results.svg").write_text(plot.svg(panels))
    print(f"\n{table}\nwritten to {folder}")


def _rates(outcome: Outcome) -> dict[str, float]:
    rates = {name: medians(samples)["rate"] for name, samples in outcome.samples.items()}
    return {name: rate for name, rate in rates.items() if rate}


def _is_wanted(name: str, patterns: str) -> bool:
    return not patterns or any(fnmatch(name, pattern) for pattern in patterns.split(","))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--only", default="", help="workloads, with commas between; * stands for anything")
    parser.add_argument("--contestants", default="", help="contestants, in the same way")
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}; {ROUNDS_OF_TARGETS} where there is a target")
    parser.add_argument("--quick", action="store_true", help="a fifth of the time and of the backlogs")
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    parser.add_argument("--list", action="store_true", help="say what there is to measure")
    parser.add_argument("--out", default="", help="a folder for the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
