"""Contestants take turns in processes of their own; one that fails spoils the run for nobody else."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import rounds
from benchmarks.job import Job
from benchmarks.rounds import Failed, measure, play

FLOOR = Job("consume", "floor", topic="rounds", keys=10, count=500)
# It looks for its broker on a port where nobody is.
FAILING = replace(FLOOR, contestant="aiokafka", bootstrap="127.0.0.1:1")


def test_contestants_take_turns() -> None:
    told: list[str] = []

    played = play({"one": FLOOR, "two": FLOOR}, 2, told.append)

    assert [line.split(":")[0].strip() for line in told] == ["1/2 one", "1/2 two", "2/2 one", "2/2 two"]
    assert {name: len(samples) for name, samples in played.samples.items()} == {"one": 2, "two": 2}
    assert played.failed == {}


def test_one_that_fails_is_told_of_once_and_the_others_go_on() -> None:
    told: list[str] = []

    played = play({"failing": FAILING, "one": FLOOR}, 2, told.append)

    assert {name: len(samples) for name, samples in played.samples.items()} == {"one": 2}
    assert played.failed["failing"].startswith("KafkaConnectionError: ")
    assert sum("aiokafka in consume" in line for line in told) == 1
    assert "Traceback" in told[0], "the run itself shows all of it"


def test_one_that_does_not_end_is_ended_and_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PATIENCE_SECONDS", 0.01)

    with pytest.raises(Failed, match="floor in consume: not done after 0 s"):
        measure(FLOOR)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print('{}'); sys.exit(3)", "ended with 3"),
        ("print('failed: KafkaError: commit failed: no'); sys.exit(1)", "KafkaError: commit failed: no"),
        ("print('hello')", "what it printed is no sample"),
    ],
)
def test_why_it_failed_is_what_it_said_or_how_it_ended(
    program: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport sys\n{program}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    with pytest.raises(Failed) as failed:
        measure(FLOOR)
    assert failed.value.reason == reason
