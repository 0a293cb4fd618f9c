"""The rates as an SVG: one panel a workload, one bar a contestant, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

WIDTH = 900
LABELS = 170
ROW = 17
TITLE = 26
GAP = 12
COLOURS = {"ours": "#0b7285", "ours-pipeline": "#0b7285", "floor": "#ced4da", "confluent": "#ced4da"}
OTHERS = "#adb5bd"
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#212529}.title{font-weight:600}"
    "line{stroke:#e9ecef}@media(prefers-color-scheme:dark){text{fill:#e9ecef}line{stroke:#495057}}"
)

Panel = tuple[str, Mapping[str, float]]
"""A title, and the rate of each contestant."""


def svg(panels: Sequence[Panel]) -> str:
    """The picture; its height follows from how much there is to show."""
    scale = _Scale([rate for _, rates in panels for rate in rates.values()])
    drawn, top = [], float(GAP)
    for title, rates in panels:
        drawn.append(_panel(title, rates, top, scale))
        top += TITLE + ROW * len(rates) + GAP
    grid = [_grid_line(power, top, scale) for power in range(scale.low, scale.high + 1)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 2 * ROW:g}">'
        f"<style>{STYLE}</style>{''.join(grid)}{''.join(drawn)}</svg>\n"
    )


class _Scale:
    """Powers of ten from below the smallest rate to above the largest."""

    def __init__(self, rates: Sequence[float]) -> None:
        self.low = floor(log10(min(rates)))
        self.high = max(ceil(log10(max(rates))), self.low + 1)

    def x(self, rate: float) -> float:
        share = (log10(rate) - self.low) / (self.high - self.low)
        return LABELS + share * (WIDTH - LABELS - 80)


def _panel(title: str, rates: Mapping[str, float], top: float, scale: _Scale) -> str:
    drawn = [f'<text class="title" x="0" y="{top + 14:g}">{escape(title)}</text>']
    for row, (name, rate) in enumerate(rates.items()):
        y = top + TITLE + row * ROW
        drawn.append(
            f'<text x="{LABELS - 8}" y="{y:g}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LABELS}" y="{y - 10:g}" width="{max(1.0, scale.x(rate) - LABELS):.1f}" height="12"'
            f' fill="{COLOURS.get(name, OTHERS)}"/>'
            f'<text x="{scale.x(rate) + 5:.1f}" y="{y:g}">{rate:,.0f}</text>'
        )
    return "".join(drawn)


def _grid_line(power: int, bottom: float, scale: _Scale) -> str:
    x = scale.x(10**power)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom:g}"/>'
        f'<text x="{x:.1f}" y="{bottom + ROW:g}" text-anchor="middle">{10**power:,}/s</text>'
    )
