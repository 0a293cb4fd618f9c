"""The results as a table for people, as JSON for programs, and each target with what was measured."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import inf
from typing import Any

from benchmarks.contestants import CONSUMING, PUBLISHING, PUBLISHING_MANY, WATCHING
from benchmarks.job import Sample
from benchmarks.rounds import medians
from benchmarks.targets import TARGETS, Medians, Target
from benchmarks.workloads import Part, Workload
from tools.markdown import row, table

GUARANTEES: Mapping[Part, Mapping[str, str]] = {
    "publishing": PUBLISHING,
    "publishing-many": PUBLISHING_MANY,
    "consuming": CONSUMING,
    "watching": WATCHING,
    "latency": dict.fromkeys(PUBLISHING, "its publisher of single messages, and its consumer"),
    "memory": CONSUMING,
}
HEADINGS: Mapping[Part, str] = {
    "publishing": "Publishing, message by message",
    "publishing-many": "Publishing, many at once",
    "consuming": "Consuming a backlog",
    "watching": "Consuming while watched",
    "latency": "From `publish` to the handler's first line",
    "memory": "Memory while 5 million messages wait",
}
COLUMNS = {
    "rate": ("messages/s", ",.0f"),
    "ratio": ("ours ÷ it", ".2f"),
    "p50_ms": ("p50 ms", ".2f"),
    "p99_ms": ("p99 ms", ".2f"),
    "cpu_us": ("CPU µs/message", ".1f"),
    "grown_mib": ("memory grown, MiB", ".0f"),
}
LIBRARIES = ("aiokafka", "confluent-kafka", "fastapi", "fastkafka2", "faststream", "pydantic", "uvloop")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One workload's samples, by contestant, one a round; and why others have none."""

    workload: Workload
    samples: Mapping[str, Sequence[Sample]]
    failed: Mapping[str, str] = field(default_factory=dict)


def conditions(broker: str) -> dict[str, str]:
    """What the numbers were measured on; ratios travel, absolute numbers do not."""
    return {
        "broker": broker,
        "processors": str(os.cpu_count()),
        "python": platform.python_version(),
        **{name: found for name in LIBRARIES if (found := _version(name))},
    }


def as_json(told: Mapping[str, str], outcomes: Sequence[Outcome]) -> str:
    return json.dumps(
        {
            "conditions": told,
            "targets": [line for line in judged(outcomes) if "measured" in line],
            "workloads": {
                outcome.workload.name: {
                    "title": outcome.workload.title,
                    "job": asdict(outcome.workload.job),
                    "partitions": outcome.workload.partitions,
                    "medians": {name: medians(samples) for name, samples in outcome.samples.items()},
                    "rounds": outcome.samples,
                    "failed": outcome.failed,
                }
                for outcome in outcomes
            },
        },
        indent=1,
    )


def as_table(told: Mapping[str, str], outcomes: Sequence[Outcome]) -> str:
    """Markdown."""
    lines = ["# Results of `make bench`", "", *_introduction(told), "", "![the rates](results.svg)", ""]
    lines += _target_table(outcomes)
    for part, heading in HEADINGS.items():
        of_part = [outcome for outcome in outcomes if outcome.workload.part == part]
        if of_part:
            lines += [f"## {heading}", "", *_guarantees(part, of_part), ""]
            lines += [line for outcome in of_part for line in _table(outcome)]
    return "\n".join(lines)


def all_medians(outcomes: Sequence[Outcome]) -> Medians:
    return {
        (outcome.workload.name, name): medians(samples)
        for outcome in outcomes
        for name, samples in outcome.samples.items()
    }


def judged(outcomes: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
    """Each target, and what was measured of it where its workloads were run, or who failed there."""
    found = all_medians(outcomes)
    failed = {(outcome.workload.name, name) for outcome in outcomes for name in outcome.failed}
    for target in TARGETS:
        told: dict[str, Any] = {
            "workload": target.workload,
            "what": target.sentence,
            "target": _limit(target),
        }
        try:
            measured = target.measure(found)
        except ZeroDivisionError:  # not run for long enough
            yield told
        except KeyError as missing:  # not run, or not to its end
            who = missing.args[0]
            yield told | {"measured": None, "reached": False, "failed": who[1]} if who in failed else told
        else:
            told |= {"measured": round(measured, 2), "reached": target.reached(measured)}
            yield told | {"by_round": _by_round(target, outcomes)}


def _by_round(target: Target, outcomes: Sequence[Outcome]) -> list[float]:
    """What each round by itself would have said: how far one may trust the medians."""
    played = {
        (outcome.workload.name, name): samples
        for outcome in outcomes
        for name, samples in outcome.samples.items()
    }
    rounds = min(len(samples) for (workload, _), samples in played.items() if workload == target.workload)
    return [
        _measured_in(target, {who: each[number] for who, each in played.items() if number < len(each)})
        for number in range(rounds)
    ]


def _measured_in(target: Target, a_round: Medians) -> float:
    try:
        return round(target.measure(a_round), 2)
    except ZeroDivisionError:
        return inf


def measured(target: Mapping[str, object]) -> object:
    """What is shown of a target's measurement."""
    return f"{target['failed']} failed" if "failed" in target else target["measured"]


def _limit(target: Target) -> str:
    return f"{'≥' if target.at_least else '≤'} {target.limit:g}"


def _introduction(told: Mapping[str, str]) -> list[str]:
    return [
        "One machine, one broker beside the clients, contestants taking turns, each in a process of its own;"
        " medians over the rounds. Only ratios mean anything on another machine.",
        "",
        ", ".join(f"{name} {value}" for name, value in told.items()),
    ]


def _target_table(outcomes: Sequence[Outcome]) -> list[str]:
    lines = ["## Targets", "", *_head(["workload", "what", "target", "measured", "", "round by round"])]
    for line in judged(outcomes):
        if "measured" in line:
            verdict = "reached" if line["reached"] else "**not reached**"
            by_round = ", ".join(f"{each:g}" for each in line.get("by_round", ()))
            lines.append(
                row([line["workload"], line["what"], line["target"], measured(line), verdict, by_round])
            )
    return [*lines, ""]


def _guarantees(part: Part, outcomes: Sequence[Outcome]) -> list[str]:
    names = dict.fromkeys(name for outcome in outcomes for name in (*outcome.samples, *outcome.failed))
    return [*_head(["contestant", "what it does and guarantees"])] + [
        row([name, GUARANTEES[part][name]]) for name in names
    ]


def _table(outcome: Outcome) -> list[str]:
    found = {name: medians(samples) for name, samples in outcome.samples.items()}
    own = next((found[name] for name in ("ours", "ours-pipeline") if name in found), None)
    if own is not None and outcome.workload.part != "latency":
        found = {name: it | _ratio(own, it) for name, it in found.items()}
    shown = [column for column in COLUMNS if any(column in it for it in found.values())] or ["rate"]
    title = (
        f"### {outcome.workload.title} (`{outcome.workload.name}`, {outcome.workload.partitions} partitions)"
    )
    rows = [row([name, *(_cell(it, column) for column in shown)]) for name, it in found.items()]
    rows += [
        row([name, f"failed: {why.replace('|', '/')}", *[""] * (len(shown) - 1)])
        for name, why in outcome.failed.items()
    ]
    return [title, "", *_head(["contestant", *(COLUMNS[column][0] for column in shown)]), *rows, ""]


def _ratio(own: Sample, it: Sample) -> Sample:
    """None where so little time was given that nothing was done."""
    return {"ratio": own["rate"] / it["rate"]} if it["rate"] else {}


def _cell(sample: Sample, column: str) -> str:
    return format(sample[column], COLUMNS[column][1]) if column in sample else ""


def _head(names: Sequence[str]) -> list[str]:
    return table(names, ()).splitlines()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
