"""Draws the dashboard as an SVG from the answers of a Prometheus: `python -m tools.panels ADDRESS FILE`.

Grafana draws the same panels at the same places, with other colours and more to click on.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

DASHBOARD = Path(__file__).parents[1] / "grafana" / "convex-messaging.json"
CHOSEN = {"$__rate_interval": "30s", "$job": ".*", "$group": ".*", "$topic": ".*"}
SECONDS, POINTS = 300, 75

COLUMN, ROW, GAP, MOST_SERIES = 50, 24, 6, 6
COLOURS = ("#0b7285", "#e8590c", "#2b8a3e", "#862e9c", "#c92a2a", "#5c940d")
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#212529}.title{font-weight:600}.stat{font-size:26px}"
    ".row{font-size:13px;font-weight:600}.panel{fill:none;stroke:#dee2e6}polyline{fill:none;stroke-width:1.4}"
    "@media(prefers-color-scheme:dark){text{fill:#e9ecef}.panel{stroke:#495057}}"
)


class Series(NamedTuple):
    """What one line of a panel shows: its labels, and values at times, in their order."""

    labels: dict[str, str]
    values: Sequence[tuple[float, float]]


Ask = Callable[[str], Sequence[Series]]
"""The answer to a query over the last minutes."""


class Box(NamedTuple):
    """Where a panel lies."""

    x: float
    y: float
    width: float
    height: float


def of(address: str) -> Ask:
    """Asks the Prometheus at this address. Raises `OSError` where there is none."""

    def ask(query: str) -> list[Series]:
        now = time.time()
        about = {"query": query, "start": now - SECONDS, "end": now, "step": SECONDS / POINTS}
        where = f"{address}/api/v1/query_range?{urllib.parse.urlencode(about)}"
        with urllib.request.urlopen(where, timeout=30) as answer:  # noqa: S310 - whoever calls this names it
            found = json.load(answer)["data"]["result"]
        return [
            Series(each["metric"], [(at, float(value)) for at, value in each["values"]]) for each in found
        ]

    return ask


def picture(panels: Iterable[dict[str, Any]], ask: Ask) -> str:
    """All panels, each with what `ask` answers to its queries."""
    drawn, bottom = list[str](), 0.0
    for panel in panels:
        at = panel["gridPos"]
        box = Box(at["x"] * COLUMN, at["y"] * ROW, at["w"] * COLUMN - GAP, at["h"] * ROW - GAP)
        bottom = max(bottom, box.y + box.height)
        drawn += _panel(panel, box, ask)
    size = f'viewBox="0 0 {24 * COLUMN} {bottom:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>{"".join(drawn)}</svg>\n'


def _panel(panel: dict[str, Any], box: Box, ask: Ask) -> list[str]:
    kind, title = panel["type"], escape(panel["title"])
    if kind == "row":
        return [f'<text class="row" x="{box.x:g}" y="{box.y + 14:g}">{title}</text>']
    frame = f'<rect class="panel" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"/>'
    heading = f'<text class="title" x="{box.x + 8:g}" y="{box.y + 16:g}">{title}</text>'
    found = [
        (_named(target.get("legendFormat") or "", each.labels), _finite(each.values))
        for target in panel["targets"]
        for each in ask(_query(target["expr"]))
    ]
    found = [(name, values) for name, values in found if values]
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "short")
    inside = Box(box.x + 8, box.y + 26, box.width - 16, box.height - 34)
    draw = {"stat": _number, "heatmap": _heatmap}.get(kind, _lines)
    return [frame, heading, *(draw(found, inside, unit) if found else _nothing(inside))]


def _query(expression: str) -> str:
    for variable, value in CHOSEN.items():
        expression = expression.replace(variable, value)
    return expression


def _named(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


def _finite(values: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(at, value) for at, value in values if isfinite(value)]


Found = Sequence[tuple[str, Sequence[tuple[float, float]]]]


def _nothing(box: Box) -> list[str]:
    return [f'<text x="{box.x:g}" y="{box.y + 14:g}">nothing to show</text>']


def _number(found: Found, box: Box, unit: str) -> list[str]:
    (_, last) = found[0][1][-1]
    return [f'<text class="stat" x="{box.x:g}" y="{box.y + 32:g}">{_shown(last, unit)}</text>']


def _lines(found: Found, box: Box, unit: str) -> list[str]:
    found = sorted(found, key=lambda each: -max(value for _, value in each[1]))[:MOST_SERIES]
    most = max(value for _, values in found for _, value in values)
    first = min(values[0][0] for _, values in found)
    span = max(values[-1][0] for _, values in found) - first
    height = box.height - 14 * len(found) - 4
    drawn = [f'<text x="{box.x:g}" y="{box.y + 8:g}">{_shown(most, unit)}</text>']
    for number, (name, values) in enumerate(found):
        colour = COLOURS[number]
        points = " ".join(
            f"{box.x + (at - first) / (span or 1) * box.width:.0f},"
            f"{box.y + 12 + (1 - max(0.0, value) / (most or 1)) * (height - 12):.0f}"
            for at, value in values
        )
        y = box.y + height + 14 * (number + 1)
        drawn.append(
            f'<polyline points="{points}" stroke="{colour}"/>'
            f'<text x="{box.x:g}" y="{y:g}"><tspan fill="{colour}">━ </tspan>{escape(name)}</text>'
        )
    return drawn


def _heatmap(found: Found, box: Box, unit: str) -> list[str]:
    """A line of cells for each series, the darker the more."""
    most = max(value for _, values in found for _, value in values) or 1
    times = sorted({at for _, values in found for at, _ in values})
    wide, high = box.width / len(times), min(14.0, (box.height - 14) / len(found))
    drawn = [f'<text x="{box.x:g}" y="{box.y + 8:g}">darkest: {_shown(most, unit)}</text>']
    for number, (_, values) in enumerate(sorted(found)):
        for begun, ended, value in _runs(values):
            left, right = times.index(begun), times.index(ended) + 1
            drawn.append(
                f'<rect x="{box.x + left * wide:.1f}" y="{box.y + 12 + number * high:.1f}"'
                f' width="{(right - left) * wide:.1f}" height="{high:.1f}" fill="{COLOURS[0]}"'
                f' opacity="{0.05 + 0.95 * value / most:.2f}"/>'
            )
    return drawn


def _runs(values: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float, float]]:
    """Neighbours of one value together: first and last time, and the value."""
    starts = [0, *(n + 1 for n, ((_, one), (_, other)) in enumerate(pairwise(values)) if one != other)]
    for start, end in pairwise([*starts, len(values)]):
        yield values[start][0], values[end - 1][0], values[start][1]


def _shown(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s" and value < 1:
        return f"{value * 1000:.3g} ms"
    scale, letter = next(((s, c) for s, c in ((1e6, "M"), (1e3, "k")) if abs(value) >= s), (1.0, ""))
    ending = {"s": " s", "ops": "/s", "bytes": "B"}.get(unit, "")
    return f"{value / scale:.3g}{' ' if unit == 'bytes' else ''}{letter}{ending}"


def main() -> None:
    address, file = sys.argv[1:]
    Path(file).write_text(picture(json.loads(DASHBOARD.read_text())["panels"], of(address)))


if __name__ == "__main__":
    main()
