"""Histories of runs that went wrong, kept: the checks that found them out must find them again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.checks import judge
from tests.faults.evidence import Allowed, load

KEPT = Path(__file__).with_name("histories")
FOUND_BY = {
    "records-dropped-after-a-failed-fetch": {"commit-safety", "unhandled", "skip"},
    "live-tied-to-the-broker": {"health-truth"},
    "a-late-commit-over-a-newer-one": {"commit-regress", "overlap"},
    "success-told-before-the-cluster-said-so": {"commit-safety", "unhandled", "lost-write"},
    "counted-as-finished-when-revoked": {"commit-safety", "unhandled"},
}
"""What `Evidence.save` wrote of engines made wrong, without the parts that no check here looks at."""


@pytest.mark.parametrize("history", FOUND_BY)
def test_a_history_that_went_wrong_is_found_out_again(history: str) -> None:
    found = judge(load(KEPT / f"{history}.json.gz"), Allowed(repeats=20, recovery=60))

    assert set(found) == FOUND_BY[history], found


def test_every_history_that_was_kept_is_judged() -> None:
    assert {path.name.removesuffix(".json.gz") for path in KEPT.iterdir()} == set(FOUND_BY)
