"""Prometheus's programs are found where they are, and whoever lacks them is told what helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import prometheus


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has none of them; the only programs are those of its `bin`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(prometheus, "UNPACKED", tmp_path / "unpacked")
    return tmp_path


def put(program: Path, text: str = "") -> str:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


def test_what_is_unpacked_is_found_and_what_is_on_the_path_comes_first(machine: Path) -> None:
    assert prometheus.find("promtool") is None
    unpacked = put(machine / "unpacked" / "usr" / "bin" / "promtool")
    assert prometheus.find("promtool") == unpacked
    installed = put(machine / "bin" / "promtool")
    assert prometheus.find("promtool") == installed


@pytest.mark.parametrize("has_apt", [False, True])
def test_without_a_package_nothing_breaks_and_help_is_told(
    has_apt: bool, machine: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if has_apt:
        put(machine / "bin" / "apt-get", "exit 100")
    prometheus.provide()
    assert capfd.readouterr().out.splitlines()[-1] == f"no Prometheus here: {prometheus.HELP}"


def test_where_both_are_here_nothing_is_fetched(machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(machine / "bin" / "apt-get", "echo fetched")
    for program in prometheus.PROGRAMS:
        put(machine / "bin" / program)
    prometheus.provide()
    assert not capfd.readouterr().out
