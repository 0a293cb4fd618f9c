"""Writes RELIABILITY.md, and what the page of promises quotes of it, from what the fault tests left.

    python -m tools.reliability build/reliability

The folder holds one JSON file a run (`tests/faults/trial.py` writes it), `mutants.json` and `controls.json`.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tools.markdown import between, table

ROOT = Path(__file__).parents[1]
PAGE, PROMISES = ROOT / "RELIABILITY.md", ROOT / "docs" / "promises.md"
BEGIN, END = "<!-- reliability -->", "<!-- /reliability -->"

Run = Mapping[str, Any]
OURS = ("", "ours")
"""What a run of this package names as its contestant."""


class Found(NamedTuple):
    """The figures of runs, of mutants, and of controls."""

    runs: Sequence[Run]
    mutants: Sequence[Run] = ()
    controls: Sequence[Run] = ()

    @property
    def ours(self) -> list[Run]:
        return [run for run in self.runs if run["contestant"] in OURS]


BAD_INPUT, SECURITY = (
    "`tests/promises/test_bus_bad_input.py`",
    "`tests/transport/kafka/engine/connections/test_security.py`",
)
ELSEWHERE = (
    ("ten kill -9 in a row", "one static member, bound 20", "`tests/faults/test_kill.py`"),
    (
        "handlers that never return",
        "an end in time, also with a dead cluster",
        "`tests/faults/test_dead_cluster.py`",
    ),
    (
        "a wrong advertised address",
        "named in probe and log, and a stop in time",
        "`tests/faults/test_rights.py`",
    ),
    (
        "all addresses changed",
        "found again without a restart",
        "`tests/transport/kafka/recovery/test_outages.py`",
    ),
    ("F23 poison", "fifteen kinds of bad input, on memory and a real Kafka", BAD_INPUT),
    ("F24 oversize", "a letter too large for its topic falls back to a smaller one", BAD_INPUT),
    ("F30 credentials", "PLAIN, SCRAM, OAUTHBEARER: wrong, changed, changed back", SECURITY),
    ("F31 TLS", "wrong CA, wrong host name, expired, no client certificate", SECURITY),
)
LEFT_OUT = (
    ("F10 a cut between brokers", "needs network namespaces that not every machine lends to a test"),
    ("F11 a slow broker", "the frozen broker (F12) and the slow link (F9) stand for it"),
    (
        "F13 a full disk",
        "needs a file system of its own; a broker whose log directory fails ends, which is F1",
    ),
    ("F28 memory pressure", "needs a control group of its own"),
    (
        "F29 a clock that jumps",
        "waiting reads a monotonic clock (one turned by hand tests it); a wall clock dates what is written: "
        "what is finished above a commit is repeated where two of them disagree",
    ),
    ("exactly-once", "the package promises at least once, and has no transactions"),
)


def main(folder: Path) -> None:
    found = read(folder)
    PAGE.write_text(page(found, datetime.now(tz=UTC).date()))
    PROMISES.write_text(between(PROMISES.read_text(), BEGIN, END, quote(found)))


def read(folder: Path) -> Found:
    """Whatever the tests left there."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    mutants, controls = files.pop("mutants", []), files.pop("controls", [])
    return Found(list(files.values()), mutants, controls)


def page(found: Found, day: date) -> str:
    """The whole of it."""
    ours, compared = found.ours, _compared(found.runs)
    parts = (
        "# Reliability",
        f"From what the fault tests found on {day.isoformat()}: {_versions(found.ours)}. "
        "`make reliability` runs them all and writes this page anew.",
        quote(found),
        _HOW,
        "## Scenarios",
        table(SCENARIO_HEAD, (_scenario(name, of) for name, of in _by_scenario(ours))),
        "## What a process holds that lives through it",
        _HELD,
        table(HELD_HEAD, _held(ours)),
        "## An engine made wrong is caught",
        table(("mutant", "caught by the check", "attempts"), map(_mutant, found.mutants)),
        "## A careless publisher is caught",
        table(("publisher", "acknowledged", "lost", "caught by the check"), map(_control, found.controls)),
        "## Others through the same checks",
        table(OUTSIDE_HEAD, map(_outside, compared)),
        "## Proven elsewhere",
        table(("fault", "what", "where"), ELSEWHERE),
        "## Left out",
        table(("what", "why"), LEFT_OUT),
    )
    return "\n\n".join(parts) + "\n"


def quote(found: Found) -> str:
    """The sentence that the page of promises shares with this one."""
    ours, mutants = found.ours, found.mutants
    broken = sum(bool(run["violations"]) for run in ours)
    caught = sum(bool(mutant["caught"]) for mutant in mutants)
    return (
        f"In {len(ours)} runs of {len({run['scenario'] for run in ours})} scenarios "
        f"{_sum(ours, 'acknowledged'):,} messages were acknowledged and **{_sum(ours, 'lost'):,} lost**, "
        f"{broken} runs violated anything, {_sum(ours, 'repeated'):,} records were handled again "
        f"({_inside_the_bound(ours)}), and {caught} of {len(mutants)} mutants of this package were caught."
    )


def _inside_the_bound(runs: Iterable[Run]) -> str:
    beyond = sum("repeats" in run["violations"] for run in runs)
    return f"in {beyond} runs beyond their bound" if beyond else "all inside their bound"


_HOW = """\
Workers are real processes under load on a real Kafka; probes are asked five times a second. Every commit is
compared, at the moment it is sent, with what had been handled by then; in the end an independent client
(librdkafka) reads the logs, the letters and the committed offsets, and the checks of
`tests/faults/checks.py` judge the whole. *repeats* are the most that one assignment of one partition
handled again, and their bound; *recovery* is the longest time from a heal to the first record handled,
*stall* the longest time without one, *stops* the longest way from SIGTERM to the end."""

SCENARIO_HEAD = (
    "scenario",
    "runs",
    "workers",
    "acknowledged",
    "lost",
    "repeats",
    "violations",
    "recovery s",
    "stall s",
    "stops s",
)
_HELD = "In the longest run: first is the most of the first five looks, one a second; last the least of five."
HELD_HEAD = ("scenario", "process", "", "MiB", "open files", "threads", "tasks")
OUTSIDE_HEAD = (
    "scenario",
    "who",
    "acknowledged",
    "lost",
    "repeats",
    "recovery s",
    "stall s",
    "stops s",
    "ready said",
    "violations",
)


def _scenario(name: str, runs: Sequence[Run]) -> Sequence[object]:
    return (
        name,
        len(runs),
        runs[0]["workers"],
        f"{_sum(runs, 'acknowledged'):,}",
        _sum(runs, "lost"),
        f"{max(run['repeats'] for run in runs)} of {max(run['bound'] for run in runs)}",
        _violations(runs),
        _longest(runs, "recovery"),
        f"{max(run['stall'] for run in runs):.1f}",
        _longest(runs, "stops"),
    )


def _held(runs: Sequence[Run]) -> Iterator[Sequence[object]]:
    longest = max(runs, key=lambda run: run["seconds"])
    for held in longest["held"]:
        for when in ("first", "last"):
            rss, *others = held[when]
            yield longest["scenario"], held["member"], when, f"{rss:.0f}", *others


def _outside(run: Run) -> Sequence[object]:
    return (
        run["scenario"],
        "this package" if run["contestant"] in OURS else run["contestant"],
        f"{run['acknowledged']:,}",
        run["lost"],
        run["repeated"],
        _longest([run], "recovery"),
        f"{run['stall']:.1f}",
        _longest([run], "stops"),
        ", ".join(f"{status} {times} times" for status, times in sorted(run["said"]["ready"].items())),
        _violations([run]),
    )


def _mutant(mutant: Run) -> Sequence[object]:
    return (
        mutant["mutant"].replace("_", " "),
        f"`{mutant['check']}`" if mutant["caught"] else "not caught",
        mutant["attempts"],
    )


def _control(control: Run) -> Sequence[object]:
    return (
        control["control"],
        control["acknowledged"],
        control["lost"],
        f"`{control['check']}`" if control["check"] else "",
    )


def _compared(runs: Sequence[Run]) -> list[Run]:
    """The runs of scenarios that others ran too, theirs and ours."""
    scenarios = {run["scenario"] for run in runs if run["contestant"] not in OURS}
    shared = (run for run in runs if run["scenario"] in scenarios)
    return sorted(shared, key=lambda run: (run["scenario"], run["contestant"]))


def _by_scenario(runs: Iterable[Run]) -> Iterator[tuple[str, list[Run]]]:
    scenarios: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        scenarios[run["scenario"]].append(run)
    return iter(sorted(scenarios.items(), key=lambda named: _natural(named[0])))


def _natural(name: str) -> list[tuple[int, str]]:
    """F2 before F12."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _violations(runs: Iterable[Run]) -> str:
    found = sorted({name for run in runs for name in run["violations"]})
    return ", ".join(found) or "none"


def _longest(runs: Iterable[Run], what: str) -> str:
    times = [seconds for run in runs for seconds in run[what]]
    return f"{max(times):.1f}" if times else ""


def _sum(runs: Iterable[Run], what: str) -> int:
    return sum(run[what] for run in runs)


def _versions(runs: Sequence[Run]) -> str:
    versions = runs[0]["versions"] if runs else {}
    return ", ".join(
        version if name == "kafka" else f"{name} {version}" for name, version in versions.items()
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
