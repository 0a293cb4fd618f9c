"""RELIABILITY.md says what the runs found, good or bad."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from tools import reliability
from tools.markdown import between
from tools.reliability import BEGIN, END, Found, page, quote

RUN: dict[str, Any] = {
    "scenario": "F1 kill -9 of a broker",
    "contestant": "",
    "seed": 7,
    "workers": 2,
    "acknowledged": 1200,
    "lost": 0,
    "repeats": 3,
    "repeated": 4,
    "bound": 20,
    "violations": {},
    "recovery": [0.5, 2.0],
    "stall": 3.25,
    "stops": [0.2, 0.3],
    "seconds": 30.0,
    "said": {"live": {"200": 70}, "ready": {"503": 9, "200": 61}},
    "held": [{"member": "one", "first": [65.4, 24, 5, 23], "last": [67.6, 22, 5, 22]}],
    "versions": {"kafka": "Apache Kafka 4.3.1", "aiokafka": "0.14.0"},
}
CAUGHT = {"mutant": "commit_the_highest", "check": "commit-safety", "attempts": 1, "caught": True}
MISSED = {"mutant": "no_drain", "check": "repeats", "attempts": 3, "caught": False}
DAY = date(2026, 1, 2)


def test_runs_of_one_scenario_share_a_line_that_shows_the_worst() -> None:
    text = page(
        Found(
            [RUN, {**RUN, "seed": 8, "stall": 9.0, "repeats": 11, "lost": 1, "violations": {"unhandled": 1}}]
        ),
        DAY,
    )

    assert "| F1 kill -9 of a broker | 2 | 2 | 2,400 | 1 | 11 of 20 | unhandled | 2.0 | 9.0 | 0.3 |" in text
    assert "on 2026-01-02: Apache Kafka 4.3.1, aiokafka 0.14.0." in text


def test_the_longest_run_tells_what_a_process_held() -> None:
    text = page(Found([RUN, {**RUN, "scenario": "an hour", "seconds": 3600}]), DAY)

    assert "| an hour | one | first | 65 | 24 | 5 | 23 |" in text
    assert "| an hour | one | last | 68 | 22 | 5 | 22 |" in text


def test_scenarios_are_in_the_order_of_their_numbers() -> None:
    text = page(Found([{**RUN, "scenario": name} for name in ("F12 frozen", "F2 killed", "ten kills")]), DAY)

    assert text.index("| F2 killed") < text.index("| F12 frozen") < text.index("| ten kills")


def test_others_stand_beside_ours_of_the_same_scenario() -> None:
    other = {**RUN, "contestant": "a plain loop", "lost": 9, "violations": {"commit-safety": 9}}
    text = page(Found([RUN, other, {**RUN, "scenario": "F2"}]), DAY)

    beside = text.split("## Others")[1]
    assert "| F1 kill -9 of a broker | this package | 1,200 | 0 | 4 |" in beside
    assert "| F1 kill -9 of a broker | a plain loop | 1,200 | 9 | 4 |" in beside
    assert "| 200 61 times, 503 9 times | commit-safety |" in beside
    assert "| F2 |" not in beside


def test_what_others_lose_is_not_counted_as_ours() -> None:
    said = quote(Found([RUN, {**RUN, "contestant": "a plain loop", "lost": 9}], [CAUGHT, MISSED]))

    assert "In 1 runs of 1 scenarios 1,200 messages were acknowledged and **0 lost**" in said
    assert "1 of 2 mutants" in said


def test_repeats_beyond_their_bound_are_told_as_such() -> None:
    beyond = {**RUN, "violations": {"repeats": 1}}

    assert "handled again (all inside their bound)" in quote(Found([RUN]))
    assert "handled again (in 1 runs beyond their bound)" in quote(Found([RUN, beyond]))


def test_a_mutant_that_was_missed_is_told_of() -> None:
    text = page(Found([RUN], [CAUGHT, MISSED]), DAY)

    assert "| commit the highest | `commit-safety` | 1 |" in text
    assert "| no drain | not caught | 3 |" in text


def test_a_control_tells_what_it_lost() -> None:
    control = {"control": "acks=1", "acknowledged": 100, "lost": 99, "check": "lost-write"}

    assert "| acks=1 | 100 | 99 | `lost-write` |" in page(Found([RUN], controls=[control]), DAY)


def test_the_page_of_promises_quotes_between_its_markers_only() -> None:
    assert between(f"a\n{BEGIN}\nold\n{END}\nb", BEGIN, END, "new") == f"a\n{BEGIN}\nnew\n{END}\nb"


def test_the_figures_in_the_page_of_promises_are_those_of_the_page() -> None:
    readme = reliability.PROMISES.read_text()
    quoted = readme.split(BEGIN)[1].split(END)[0].strip()

    assert quoted
    assert quoted in reliability.PAGE.read_text()


def test_a_folder_of_runs_becomes_the_page(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "f1.json").write_text(json.dumps(RUN))
    (tmp_path / "mutants.json").write_text(json.dumps([CAUGHT]))
    promises = tmp_path / "promises.md"
    promises.write_text(f"{BEGIN}\n{END}")
    monkeypatch.setattr(reliability, "PROMISES", promises)
    monkeypatch.setattr(reliability, "PAGE", tmp_path / "RELIABILITY.md")

    reliability.main(tmp_path)

    assert "1,200" in (tmp_path / "RELIABILITY.md").read_text()
    assert "1 of 1 mutants" in promises.read_text()
