"""The front page compares with what was measured."""

from __future__ import annotations

import json
import re

from tests.readme.reading import README
from tests.support.services import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "results.json"
CONTESTANTS = ("ours", "faststream", "aiokafka", "confluent")


def test_the_rates_are_those_of_the_benchmark() -> None:
    (row,) = re.findall(r"^\| the rate \| (.+) \|$", README, re.MULTILINE)
    told = [float(cell) for cell in row.split(" | ")]
    medians = json.loads(RESULTS.read_text())["workloads"]["consume"]["medians"]
    rates = [medians[who]["rate"] / medians["aiokafka"]["rate"] for who in CONTESTANTS]
    assert told == [round(rate, 2) for rate in rates]


def test_the_comparison_is_dated_and_names_its_versions() -> None:
    found = re.search(r"Looked at on \d+ \w+ 20\d\d: (.+?)\. \*", README, re.DOTALL)
    assert found
    constraints = (ROOT / "constraints.txt").read_text()
    for name, version in re.findall(r"([\w-]+) (\d+\.\d+\.\d+)", found[1]):
        assert f"{name.lower()}=={version}" in constraints
