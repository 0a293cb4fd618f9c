"""Puts what a whole run measured of its targets into the page of speed, so that both say the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import measured
from benchmarks.rounds import ROOT
from tools.markdown import between, table

SPEED = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
HEAD = ("workload", "this package", "target", "measured")


def quote(results: Mapping[str, Any]) -> str:
    """What `report.as_json` made, as a table of the targets, with what one must know to read it."""
    told = [table(HEAD, (_row(target) for target in results["targets"] if "measured" in target))]
    workloads = results["workloads"]
    if floor := workloads.get("pipeline", {}).get("medians", {}).get("floor"):
        told.append(
            f"The floor handled {floor['rate']:,.0f} messages a second on that machine: what is told in µs,"
            " or as a share of an ideal, is better on a faster one."
        )
    if failed := [f"{who} in `{name}`" for name, it in workloads.items() for who in it.get("failed", ())]:
        told.append(f"Contestants that failed: {', '.join(failed)}.")
    return "\n\n".join(told)


def put_into_page(results: Path) -> None:
    SPEED.write_text(between(SPEED.read_text(), BEGIN, END, quote(json.loads(results.read_text()))))


def _row(target: Mapping[str, Any]) -> Iterable[object]:
    shown = measured(target) if target["reached"] else f"{measured(target)} (not reached)"
    return f"`{target['workload']}`", target["what"], target["target"], shown
