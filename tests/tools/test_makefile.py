"""What the Makefile's help says of each target is so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Makefile").read_text()
HELP = dict(re.findall(r"^([a-z-]+):.*?## (.+)$", TEXT, flags=re.MULTILINE))

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def recipe(target: str, *variables: str) -> list[str]:
    """What it would run, once the environment is set up."""
    made = ["make", "-n", "-o", ".venv/ready", target, *variables]
    # these tests may be run by make, which hands its own options and variables on
    mine = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "ARGS")}
    ran = subprocess.run(made, cwd=ROOT, env=mine, capture_output=True, text=True, check=True)
    return ran.stdout.replace("\\\n", "").splitlines()


def test_every_target_says_what_it_does_and_is_made_each_time() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", TEXT, flags=re.MULTILINE)
    assert set(phony.split()) == set(HELP)
    for target in HELP:
        recipe(target)


@pytest.mark.parametrize("target", [target for target, said in HELP.items() if "ARGS=" in said])
def test_who_may_give_arguments_is_asked_for_nothing_beyond_them(target: str) -> None:
    """A selection has not the coverage of the whole."""
    (ran,) = (line for line in recipe(target, "ARGS=tests/x -k y") if "tests/x -k y" in line)
    assert ran.endswith(" tests/x -k y"), "what comes last decides, in pytest too"
    assert "--cov" not in ran


def test_the_coverage_is_that_of_both_lanes() -> None:
    lanes = [line for line in recipe("test") if " -m pytest " in line]
    alone, bounded, on_kafka, bounded_on_kafka = lanes
    assert "--cov " in alone
    assert "--cov " in on_kafka
    for each in (bounded, bounded_on_kafka):
        assert "--no-cov" in each
        assert " -n " not in each, "what bounds CPU has nothing beside it"


@pytest.mark.parametrize("target", [target for target, said in HELP.items() if "as unit" in said])
def test_who_does_as_unit_does_selects_what_it_selects(target: str) -> None:
    selected = re.compile(r'-m "([^"]+)"')
    assert selected.findall("\n".join(recipe(target))) == selected.findall("\n".join(recipe("unit")))
