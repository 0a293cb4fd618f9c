"""A browser is found where it is, and whoever lacks one is told what helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import browser, machine


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all programs of a machine that has none yet."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "APT", None)
    return tmp_path


def put(program: Path, text: str = "") -> str:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("name", browser.PROGRAMS)
def test_each_name_that_it_goes_by_is_found(name: str, programs: Path) -> None:
    assert browser.find() is None
    assert put(programs / name) == browser.find()


def test_where_one_is_here_nothing_is_installed(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put(programs / "google-chrome")
    monkeypatch.setattr(machine, "APT", put(programs / "apt-get", "echo asked"))
    browser.provide()
    assert capfd.readouterr().out == ""


def test_without_a_package_nothing_breaks_and_help_is_told(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "APT", put(programs / "apt-get", "exit 100"))
    browser.provide()
    assert capfd.readouterr().out.splitlines()[-1] == f"no browser here: {browser.HELP}"


def test_where_apt_may_be_used_it_brings_one(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine,
        "APT",
        put(programs / "apt-get", f": > {programs}/chromium; /bin/chmod +x {programs}/chromium"),
    )
    monkeypatch.setattr("os.geteuid", lambda: 0)
    browser.provide()
    assert browser.find() == str(programs / "chromium")


def test_where_apt_may_not_be_used_it_is_not(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "APT", put(programs / "apt-get", f": > {programs}/asked"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    browser.provide()
    assert not (programs / "asked").exists()
