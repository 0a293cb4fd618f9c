"""An engine made wrong is noticed: each mutant fails the tests named here, and no other of their file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bus.test_commit_safety import TOO_FAR
from tests.faults.mutants import MUTANTS, VARIABLE

ROOT = Path(__file__).parents[2]
NAMED = "tests/bus/test_commit_safety.py"
LOWER = "test_no_commit_passes_a_lower_message_when_higher_ones_are_finished"
HANDED_OUT = "test_no_commit_passes_messages_that_were_only_handed_out"
LETTER = "test_no_commit_passes_a_message_whose_letter_is_not_acknowledged"

CAUGHT_BY = {
    "commit_the_highest_finished_offset": {LOWER, LETTER},
    "commit_positions_on_a_timer": {LOWER, HANDED_OUT, LETTER},
    "do_not_await_a_burial": {LETTER},
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_fails_the_tests_that_are_named_for_it(mutant: str, tmp_path: Path) -> None:
    failed, passed = run_named_tests(tmp_path, mutant)

    assert failed == CAUGHT_BY[mutant]
    assert passed == {LOWER, HANDED_OUT, LETTER} - CAUGHT_BY[mutant]


def test_without_a_mutant_the_same_run_passes(tmp_path: Path) -> None:
    assert run_named_tests(tmp_path, "") == (set(), {LOWER, HANDED_OUT, LETTER})


def run_named_tests(folder: Path, mutant: str) -> tuple[set[str], set[str]]:
    """Which of them failed and which passed, in a process whose engine is that mutant."""
    report = folder / "report.xml"
    options = ("-p", "tests.faults.mutants", "-p", "no:cacheprovider", f"--junitxml={report}", "-q")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, NAMED],
        cwd=ROOT,
        env=os.environ | {VARIABLE: mutant},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert report.exists(), ran.stdout + ran.stderr
    failed: set[str] = set()
    passed: set[str] = set()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        failure = case.find("failure")
        if failure is not None:
            assert TOO_FAR in failure.attrib["message"], f"it failed of something else:\n{ran.stdout}"
        (passed if failure is None else failed).add(case.attrib["name"])
    return failed, passed
