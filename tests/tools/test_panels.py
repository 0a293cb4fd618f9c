"""Each panel of the dashboard is drawn where it lies, with what a Prometheus answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import nan
from xml.etree import ElementTree

import pytest

from tools.panels import DASHBOARD, Series, picture

PANELS = json.loads(DASHBOARD.read_text())["panels"]
HOSTILE = '</text><script>"&'


def answer(query: str) -> Sequence[Series]:
    """Two lines, of which one has a hostile name and a value that is no number."""
    labels = dict.fromkeys(("group", "topic", "partition", "subscription", "outcome"), HOSTILE)
    return [
        Series(labels, [(0.0, 0.0), (4.0, 0.0), (8.0, 12.0)]),
        Series({}, [(0.0, nan), (4.0, 0.25), (8.0, 7.0)]),
    ]


def elements(drawn: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(drawn).iter())  # noqa: S314 - drawn here


def texts(drawn: str) -> list[str]:
    return ["".join(each.itertext()) for each in elements(drawn) if each.tag.endswith("}text")]


def test_every_panel_is_drawn_and_what_others_are_called_is_text() -> None:
    drawn = picture(PANELS, answer)
    assert {panel["title"] for panel in PANELS} <= set(texts(drawn))
    assert f"━ {HOSTILE}" in texts(drawn)
    assert "script" not in {each.tag.rpartition("}")[2] for each in elements(drawn)}
    assert "nan" not in drawn


def test_where_there_is_no_answer_that_is_said() -> None:
    panels = [panel for panel in PANELS if panel["type"] != "row"]
    assert texts(picture(panels, lambda query: [])).count("nothing to show") == len(panels)


def test_no_variable_of_the_dashboard_is_left_in_a_query() -> None:
    asked = list[str]()

    def ask(query: str) -> Sequence[Series]:
        asked.append(query)
        return []

    picture(PANELS, ask)
    assert asked
    assert not [query for query in asked if "$" in query]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.012, "s", "12 ms"),
        (12.0, "s", "12 s"),
        (0.5, "percentunit", "50%"),
        (1234.0, "short", "1.23k"),
        (2_500_000.0, "bytes", "2.5 MB"),
        (3.0, "ops", "3/s"),
    ],
)
def test_a_number_is_shown_in_its_unit(value: float, unit: str, shown: str) -> None:
    panel = {
        "type": "stat",
        "title": "t",
        "gridPos": {"x": 0, "y": 0, "w": 4, "h": 4},
        "targets": [{"expr": "q"}],
        "fieldConfig": {"defaults": {"unit": unit}},
    }
    assert texts(picture([panel], lambda query: [Series({}, [(0.0, value)])])) == ["t", shown]
