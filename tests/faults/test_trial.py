"""What a trial makes of workers that do not do what they are asked."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from subprocess import TimeoutExpired
from types import SimpleNamespace
from typing import Any

from tests.faults.trial import Trial


def test_a_worker_that_does_not_end_is_left_to_the_checks() -> None:
    """It was killed in the end: its turns were cut off then, and its end took too long."""
    mourned: list[Any] = []
    crew: Any = SimpleNamespace(topic=lambda name: name, mourn=mourned.append)
    worker: Any = SimpleNamespace(name="one", pid=1, terminate=never_ends)

    with ExitStack() as ends:
        trial = Trial("a stop", crew, 0, ends)
        trial.stop(worker)

    assert [(ended.member, ended.code) for ended in trial.ended] == [("one:1", -signal.SIGKILL)]
    assert mourned == [worker]


def never_ends() -> int:
    raise TimeoutExpired("uvicorn", 40)
