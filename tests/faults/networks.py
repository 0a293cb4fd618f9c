"""A crew whose way to its brokers leads through proxies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.crew import Crew
from tests.support.frames import PASS
from tests.support.proxied import Proxied, proxied_cluster
from tests.support.required import start_or_skip


@pytest.fixture(scope="module")
def network() -> Iterator[Proxied]:
    """Three brokers behind proxies."""
    with ExitStack() as ends:
        yield start_or_skip(ends, proxied_cluster())


@pytest.fixture
def crew_through_proxies(network: Proxied, unique: str, tmp_path: Path) -> Iterator[Crew]:
    """On three brokers; its witness goes to them directly. Whatever a test did to the network is undone."""
    with ExitStack() as ends:
        ends.callback(network.set_apart, None)
        ends.callback(network.follow, PASS)
        yield Crew(network.cluster, unique, tmp_path, ends, network=network)
