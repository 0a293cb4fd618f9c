"""What fault tests share: a crew on one broker or three, trials, and a way to tell figures."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.crew import Crew
from tests.faults.networks import crew_through_proxies, network  # noqa: F401 - fixtures
from tests.faults.trial import Trials
from tests.support.cluster import Cluster

Report = Callable[[str], None]


@pytest.fixture
def crew(kafka: Cluster, unique: str, tmp_path: Path) -> Iterator[Crew]:
    """On one broker."""
    with ExitStack() as ends:
        yield Crew(kafka, unique, tmp_path, ends)


@pytest.fixture
def crew_on_three(kafka_cluster: Cluster, unique: str, tmp_path: Path) -> Iterator[Crew]:
    """On three brokers."""
    with ExitStack() as ends:
        yield Crew(kafka_cluster, unique, tmp_path, ends)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Tells a line of figures, whether or not the test passes."""
    tell = teller(request.config)
    return lambda line: tell(f"{request.node.name}: {line}")


def teller(config: pytest.Config) -> Report:
    """Writes lines at once, past whatever captures output."""
    capture = config.pluginmanager.getplugin("capturemanager")
    terminal = config.pluginmanager.getplugin("terminalreporter")
    assert capture is not None
    assert terminal is not None

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.write_line(f"\n{line}")

    return tell


@pytest.fixture
def trials(report: Report) -> Trials:
    """Trials with a seed of their own; `FAULTS_SEED` gives the one to make again."""
    return Trials(report, int(os.environ.get("FAULTS_SEED") or random.randrange(10**6)))
