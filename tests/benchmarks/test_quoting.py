"""The page of speed says what was measured, and no more."""

from __future__ import annotations

import json

from benchmarks.__main__ import FULL
from benchmarks.quoting import SPEED, quote

REACHED = {
    "workload": "publish-1000",
    "what": "rate / aiokafka",
    "target": "≥ 2.2",
    "measured": 2.5,
    "reached": True,
}
MISSED = {
    "workload": "consume",
    "what": "rate / aiokafka",
    "target": "≥ 0.5",
    "measured": 0.42,
    "reached": False,
}
NOT_RUN = {"workload": "latency-200", "what": "p50 / aiokafka", "target": "≤ 1.2"}


def test_a_target_that_was_missed_is_told_of_and_one_that_was_not_measured_is_not() -> None:
    table = quote({"targets": [REACHED, MISSED, NOT_RUN], "workloads": {}})

    assert "| `publish-1000` | rate / aiokafka | ≥ 2.2 | 2.5 |" in table
    assert "| `consume` | rate / aiokafka | ≥ 0.5 | 0.42 (not reached) |" in table
    assert "latency-200" not in table


def test_how_fast_the_machine_was_and_who_failed_is_told_beside_the_targets() -> None:
    failed = MISSED | {"measured": None, "failed": "aiokafka"}
    pipeline = {"medians": {"floor": {"rate": 740_000.4}}, "failed": {}}
    crowd = {"medians": {}, "failed": {"aiokafka": "KafkaTimeoutError", "faststream": "not done after 300 s"}}

    told = quote({"targets": [failed], "workloads": {"pipeline": pipeline, "crowd": crowd}})

    assert "| aiokafka failed (not reached) |" in told
    assert "The floor handled 740,000 messages a second" in told
    assert "Contestants that failed: aiokafka in `crowd`, faststream in `crowd`." in told


def test_the_readme_quotes_the_results_that_are_kept() -> None:
    kept = json.loads((FULL / "results.json").read_text())

    assert quote(kept) in SPEED.read_text()
