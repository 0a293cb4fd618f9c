"""Puts what a whole run measured of its targets into the README, so that both say the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rounds import ROOT
from tools.markdown import between, table

README = ROOT / "README.md"
BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
HEAD = ("workload", "this package", "target", "measured")


def quote(results: Mapping[str, Any]) -> str:
    """A table of the targets in what `report.as_json` made."""
    return table(HEAD, (_row(target) for target in results["targets"] if "measured" in target))


def put_into_readme(results: Path) -> None:
    README.write_text(between(README.read_text(), BEGIN, END, quote(json.loads(results.read_text()))))


def _row(target: Mapping[str, Any]) -> Iterable[object]:
    measured = str(target["measured"])
    shown = measured if target["reached"] else f"{measured} (not reached)"
    return f"`{target['workload']}`", target["what"], target["target"], shown
