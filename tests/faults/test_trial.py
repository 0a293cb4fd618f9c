"""What a trial makes of workers that do not do what they are asked."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from subprocess import TimeoutExpired
from types import SimpleNamespace
from typing import Any

from tests.faults.evidence import Ended
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


def test_a_worker_that_ended_by_itself_is_told_of() -> None:
    """Another one does its work, so that nothing else need tell."""
    killed: dict[str, float] = {"two:2": 7.0}
    mourned: list[Any] = []
    crew: Any = SimpleNamespace(topic=lambda name: name, mourn=mourned.append, killed=killed)
    dead: list[Any] = [SimpleNamespace(name=name, pid=pid, wait=lambda _: 3) for name, pid in NAMES_AND_PIDS]

    with ExitStack() as ends:
        trial = Trial("a death", crew, 0, ends)
        trial.ended.append(Ended("three:3", 0.5, -signal.SIGTERM))
        for worker in dead:
            trial.note_death(worker)

    assert trial.ended[1:] == [Ended("one:1", 0.0, 3)]
    assert mourned == dead[:1]


NAMES_AND_PIDS = (("one", 1), ("two", 2), ("three", 3))
"""Nobody had asked the first; the second was killed, and the third was stopped."""


def never_ends() -> int:
    raise TimeoutExpired("uvicorn", 40)
