"""The dashboard and the alerts name only metrics and labels that exist, and Prometheus's own tool takes them.

`make test` provides its programs; REQUIRE_PROMETHEUS=1 fails where they are not there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from convex_messaging_fastapi.observability.metrics import METRICS, PREFIX
from tests.support.services import ROOT
from tools import prometheus

GRAFANA = ROOT / "grafana"
RULE_TESTS = Path(__file__).parent / "alerts" / "tests.yaml"
PAGE = (ROOT / "docs" / "dashboard.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "convex-messaging.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"][0]["rules"]

OF_PROMETHEUS = {"job", "instance", "le"}
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
SHOWN = {
    f"{PREFIX}{metric.name}{ending}": {*metric.labels} | OF_PROMETHEUS
    for metric in METRICS.values()
    for ending in ENDINGS[metric.kind]
}


def of_the_dashboard() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield f"${variable['name']}", variable["definition"]


EXPRESSIONS = dict(of_the_dashboard()) | {rule["alert"]: rule["expr"] for rule in RULES}


def found(program: str) -> str:
    """Where a program of Prometheus is; the test is skipped, or fails, where it is not."""
    if (path := prometheus.find(program)) is None:
        if os.environ.get("REQUIRE_PROMETHEUS") == "1":
            pytest.fail(f"REQUIRE_PROMETHEUS=1, but there is no {program}", pytrace=False)
        pytest.skip(f"no {program}: {prometheus.HELP}")
    return path


def promtool(*arguments: str | Path) -> None:
    command = [found("promtool"), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_names_what_there_is(name: str) -> None:
    expression = EXPRESSIONS[name]
    named = re.findall(rf"{PREFIX}\w+", expression)
    assert named
    assert set(named) <= SHOWN.keys()
    known = set.union(*(SHOWN[each] for each in named))
    grouped = [label for found in re.findall(r"by \(([^)]*)\)", expression) for label in found.split(", ")]
    assert set(grouped) <= known
    for metric, chosen in re.findall(rf"({PREFIX}\w+)\{{([^}}]*)\}}", expression):
        assert set(re.findall(r"(\w+)[=!]", chosen)) <= SHOWN[metric]


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    """What nobody looks at need not be counted."""
    text = " ".join(EXPRESSIONS.values())
    assert not [name for name in METRICS if f"{PREFIX}{name}" not in text]


def test_panels_lie_beside_and_below_each_other() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    taken = [
        (x, y)
        for at in places
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(taken) == len(set(taken))
    assert all(0 <= x < 24 for x, _ in taken)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_each_alert_is_tried_firing_and_clearing() -> None:
    tried: dict[str, list[bool]] = {}
    for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        for each in test["alert_rule_test"]:
            tried.setdefault(each["alertname"], []).append(bool(each["exp_alerts"]))
    assert tried == {rule["alert"]: [True, False] for rule in RULES}


def test_the_page_has_a_row_for_each_alert_and_names_panels_that_there_are() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in RULES]
    titles = " ".join(panel["title"] for panel in DASHBOARD["panels"])
    guide = PAGE.partition("| to find out")[2].partition("## The alerts")[0]
    named = re.findall(r"\*([A-Z][^*]+)\*", guide)
    assert len(named) > 5
    assert [name for name in named if name not in titles] == []


def test_promtool_takes_the_alerts_and_each_fires_and_clears() -> None:
    promtool("check", "rules", GRAFANA / "alerts.yaml")
    promtool("test", "rules", RULE_TESTS)


def test_promtool_takes_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = [expr for name, expr in of_the_dashboard() if not name.startswith("$")]
    rules = [
        {"record": f"query:{number}", "expr": expr.replace("$__rate_interval", "5m")}
        for number, expr in enumerate(queries)
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")
