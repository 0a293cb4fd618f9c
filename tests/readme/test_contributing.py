"""CONTRIBUTING.md sends nobody astray: its commands work, and the files that it names are there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.readme.reading import blocks, prose
from tests.support.services import ROOT, clean_environment
from tests.tools.test_makefile import HELP, recipe

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
LINES = [
    line.split("  #")[0].strip()
    for block in blocks(TEXT)
    if block.language == "sh"
    for line in block.text.splitlines()
]
MAKE = [shlex.split(line) for line in LINES if line.startswith("make ")]
MADE = sorted({word for words in MAKE for word in words[1:] if "=" not in word})
NAMED = sorted(set(re.findall(r"`([\w.]+/[\w./-]*|[\w-]+\.(?:md|py|toml))`", prose(TEXT))))
LINKED = re.findall(r"\]\((?!http)([^)]+)\)", TEXT)


def test_every_command_is_of_a_kind_that_is_looked_at_here() -> None:
    assert {shlex.split(line)[0] for line in LINES} == {"make", ".venv/bin/python", "git"}


@pytest.mark.parametrize("words", MAKE, ids=" ".join)
def test_what_is_made_can_be_made(words: list[str]) -> None:
    assert recipe(words[1], *words[2:])


def test_what_the_prose_says_of_make_can_be_made_too() -> None:
    said = {
        word
        for words in re.findall(r"`make ([^`]+)`", TEXT)
        for word in shlex.split(words)
        if "=" not in word
    }
    assert said
    assert said <= set(HELP)


@pytest.mark.parametrize("words", [words for words in MAKE if "ARGS=" in " ".join(words)], ids=" ".join)
def test_what_is_selected_is_there(words: list[str]) -> None:
    (given,) = (word.removeprefix("ARGS=") for word in words if word.startswith("ARGS="))
    path, option, keyword = given.split()
    assert option == "-k"
    assert any(keyword in file.stem for file in (ROOT / path).rglob("test_*.py"))


@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_is_named_is_there(name: str) -> None:
    assert name.startswith("build/") or (ROOT / name).exists()


def test_much_is_named_and_all_that_is_linked_is_there() -> None:
    assert len(NAMED) > 20
    assert {"README.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md"} <= set(LINKED)
    assert [link for link in LINKED if not (ROOT / link).is_file()] == []


def test_what_python_is_to_print_for_the_page_of_settings_is_what_it_has() -> None:
    (command,) = (line for line in LINES if "settings_table" in line)
    words = [sys.executable, *shlex.split(command)[1:]]
    ran = subprocess.run(words, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True)
    assert ran.stdout.strip() in (ROOT / "docs" / "settings.md").read_text()


def test_every_tool_that_is_named_exists() -> None:
    modules = [words[2] for line in LINES if (words := shlex.split(line))[1] == "-m"]
    ours = [module for module in modules if module != "pytest"]
    assert ours
    for module in ours:
        assert Path(ROOT, *module.split(".")).with_suffix(".py").is_file()


def test_a_release_is_built_under_the_tag_that_is_then_pushed() -> None:
    (built,) = re.findall(r"TAG=(\S+)", "\n".join(LINES))
    assert f"git tag {built}" in LINES
    assert f"git push origin {built}" in LINES
    assert re.fullmatch(r"v\d+\.\d+\.\d+", built)
