"""What fault tests share: a crew on one broker or three, trials, and a way to tell figures."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crew import Crew
from tests.faults.networks import crew_through_proxies, network  # noqa: F401 - fixtures
from tests.faults.trial import Trials
from tests.support.telling import telling
from tools.kafka.cluster import Cluster

Report = Callable[[str], None]
NewCrew = Callable[..., Crew]
"""Takes the cluster, and options of `Crew`."""


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
def new_crew(unique: str, tmp_path: Path) -> Iterator[NewCrew]:
    """Makes crews: each has names and topics that nobody else has used."""
    with ExitStack() as ends:
        numbers = count(1)

        def crew(cluster: Cluster, **options: Any) -> Crew:
            number = next(numbers)
            folder = tmp_path / str(number)
            folder.mkdir()
            return Crew(cluster, f"{unique}-{number}", folder, ends, **options)

        yield crew


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Tells a line of figures, whether or not the test passes."""
    tell = teller(request.config)
    return lambda line: tell(f"{request.node.name}: {line}")


def teller(config: pytest.Config) -> Report:
    return telling(config).tell


@pytest.fixture
def trials(report: Report) -> Trials:
    """Trials with a seed of their own; `FAULTS_SEED` gives the one to make again."""
    return Trials(report, int(os.environ.get("FAULTS_SEED") or random.randrange(10**6)))
