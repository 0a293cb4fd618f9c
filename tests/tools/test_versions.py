"""One Kafka after another, each of which is told of in a line, whatever became of those before."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.tools.test_makefile import TEXT
from tools import versions
from tools.kafka import jars

ROOT = Path(__file__).parents[2]


def test_the_core_is_there() -> None:
    assert [name for name in versions.CORE if not (ROOT / name).is_file()] == []


def test_the_newest_of_them_is_the_one_that_all_tests_run_on() -> None:
    (supported,) = re.findall(r"^KAFKAS \?= (.+)$", TEXT, flags=re.MULTILINE)
    assert supported.split()[-1] == jars.NEWEST


def test_each_runs_on_its_own_kafka_and_one_that_fails_fails_the_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def ran(command: list[str], *, env: dict[str, str], stdout: Any, **_: Any) -> Any:
        version = env["KAFKA_TEST_VERSION"]
        asked.append(version)
        assert env["REQUIRE_KAFKA"] == "1", "a test that finds no Kafka has shown nothing of it"
        failed = version == "2"
        summary = "1 failed, 3 passed" if failed else "4 passed"
        stdout.write(f"....\n== {summary} in 5 s ==\na line at the end of a process\n")
        stdout.flush()
        return subprocess.CompletedProcess(command, int(failed))

    monkeypatch.setattr(versions, "LOGS", tmp_path)
    monkeypatch.setattr("tools.versions.subprocess.run", ran)

    with pytest.raises(SystemExit) as ended:
        versions.main("1", "2", "3")

    assert asked == ["1", "2", "3"]
    assert ended.value.code == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "Apache Kafka 1: 4 passed in 5 s"
    assert second == f"Apache Kafka 2: 1 failed, 3 passed in 5 s; see {tmp_path / '2.log'}"
    assert third == "Apache Kafka 3: 4 passed in 5 s"


def test_where_all_pass_it_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "run", lambda version: (True, version))
    with pytest.raises(SystemExit) as ended:
        versions.main("1", "2")
    assert ended.value.code == 0
