"""How many examples a property is tried on: a quarter of them each time, all in `make test-long`."""

from __future__ import annotations

import os

from hypothesis import settings

ALL = os.environ.get("EXAMPLES") == "all"


def examples(count: int = 100, steps: int = 50) -> settings:
    """Settings for so many, new ones each run; of a state machine each has at most so many steps.

    No example has a deadline: a machine may be busy.
    """
    tried = count if ALL else max(count // 4, 1)
    return settings(max_examples=tried, stateful_step_count=steps, deadline=None)


def use_them_by_default() -> None:
    """For all properties that say nothing of how many."""
    settings.register_profile("ours", examples())
    settings.load_profile("ours")
