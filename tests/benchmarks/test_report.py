"""What a run of the benchmark leaves behind: a table, JSON and a plot that say what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmarks import plot, report
from benchmarks.__main__ import rounds_of
from benchmarks.job import Job, Sample
from benchmarks.measuring import percentiles
from benchmarks.report import Outcome
from benchmarks.targets import TARGETS, Target
from benchmarks.workloads import WORKLOADS

BY_NAME = {workload.name: workload for workload in WORKLOADS}


def sample(rate: float) -> Sample:
    return {"rate": rate, "cpu_us": 1e6 / rate if rate else 0.0, "grown_mib": 1.0}


def outcome(name: str, **rates: list[float]) -> Outcome:
    samples = {who.replace("_", "-"): [sample(rate) for rate in each] for who, each in rates.items()}
    return Outcome(BY_NAME[name], samples)


def test_the_table_says_of_each_target_whether_the_medians_reach_it() -> None:
    consumed = outcome(
        "consume", ours=[90, 100, 900], aiokafka=[150, 150, 150], faststream=[20] * 3, faststream_ack=[1] * 3
    )
    table = report.as_table({"broker": "a Kafka"}, [consumed])
    assert "| consume | rate / aiokafka | ≥ 0.5 | 0.67 | reached | 0.6, 0.67, 6 |" in table
    assert "| consume | rate / faststream | ≥ 7 | 5.0 | **not reached** | 4.5, 5, 45 |" in table
    assert "publish-1000" not in table


def test_a_target_may_compare_two_workloads_round_by_round() -> None:
    keyed = outcome("publish-many-keyed", ours=[110, 100, 90], aiokafka=[10, 10, 10])
    at_once = outcome("publish-many-100k", ours=[100, 100, 100], aiokafka=[10, 10, 10])
    line = "| publish-many-100k | time a message / publish-many-keyed | ≤ 1.1 | 1.0 | reached | 1.1, 1, 0.9 |"
    assert line in report.as_table({}, [keyed, at_once])
    assert "time a message" not in report.as_table({}, [at_once])


def test_json_holds_every_round_and_the_targets_that_were_measured() -> None:
    told = json.loads(report.as_json({}, [outcome("publish-1000", ours=[3, 5], aiokafka=[1, 1])]))
    assert [target["measured"] for target in told["targets"]] == [4.0]
    rounds = told["workloads"]["publish-1000"]["rounds"]["ours"]
    assert [each["rate"] for each in rounds] == [3, 5]


def test_a_contestant_that_did_nothing_costs_only_its_ratio() -> None:
    table = report.as_table({}, [outcome("publish-1000", ours=[5], aiokafka=[0])])
    assert "| aiokafka | 0 |  |" in table


def test_a_contestant_that_failed_is_a_row_that_says_so_and_costs_its_targets() -> None:
    played = outcome("publish-10000", ours=[5, 5, 5], faststream=[2, 2, 2])
    failed = replace(played, failed={"aiokafka": "KafkaTimeoutError"})
    table = report.as_table({}, [failed])
    assert "| aiokafka | failed: KafkaTimeoutError |  |  |  |" in table
    assert "| publish-10000 | rate / aiokafka | ≥ 20 | aiokafka failed | **not reached** |  |" in table
    assert "| faststream | 2 | 2.50 |" in table

    told = json.loads(report.as_json({}, [failed]))
    assert told["workloads"]["publish-10000"]["failed"] == {"aiokafka": "KafkaTimeoutError"}
    (target,) = told["targets"]
    assert (target["reached"], target["measured"], target["failed"]) == (False, None, "aiokafka")


def test_a_workload_in_which_everyone_failed_is_still_a_table() -> None:
    table = report.as_table(
        {}, [replace(outcome("publish-1000"), failed={"ours": "no", "aiokafka": "nor I"})]
    )
    assert "| contestant | messages/s |" in table
    assert "| ours | failed: no |" in table


def test_a_target_is_not_missed_by_the_failure_of_somebody_else() -> None:
    played = replace(outcome("consume", ours=[1], aiokafka=[0]), failed={"confluent": "no"})
    table = report.as_table({}, [played])
    assert "rate / aiokafka" not in table, "it did nothing in its time"
    assert "rate / faststream" not in table, "it was not asked"


def test_a_workload_with_a_target_is_played_more_often_than_others() -> None:
    assert rounds_of(BY_NAME["publish-1000"]) > rounds_of(BY_NAME["publish-100"]) > 1


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.workload} {target.sentence}")
def test_every_target_is_of_a_workload_that_there_is(target: Target) -> None:
    assert target.workload in BY_NAME


def test_the_plot_is_an_image_with_a_bar_for_each_contestant() -> None:
    drawn = ElementTree.fromstring(plot.svg([("one & two", {"ours": 1000.0, "other": 3.0})]))  # noqa: S314
    assert len([bar for bar in drawn if bar.tag.endswith("rect")]) == 2
    assert any(text.text == "one & two" for text in drawn)


def test_a_job_arrives_in_its_process_as_it_was_sent() -> None:
    job = Job("consume", "ours", keys=3, loop="uvloop")
    assert Job.from_text(job.as_text()) == job


def test_how_much_is_handled_follows_from_what_is_expected_and_never_exceeds_the_backlog() -> None:
    workload = BY_NAME["consume"]
    assert workload.job_of("faststream-ack", 1.0).count == 1_500 * 3
    faster = replace(workload, contestants={"ours": 1e9})
    assert workload.backlog is not None
    assert faster.job_of("ours", 1.0).count == workload.backlog.count


def test_percentiles_are_milliseconds() -> None:
    told = percentiles([number / 1000 for number in range(1, 101)])
    assert told == pytest.approx({"p50_ms": 51, "p99_ms": 100})
