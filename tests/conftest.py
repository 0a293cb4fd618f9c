"""Fixtures for every test: a real Kafka when one is asked for, a witness of it, names nobody else uses."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.cluster import Cluster, Unavailable
from tests.support.independent import Independent
from tests.support.kafka import open_cluster

REQUIRED = os.environ.get("REQUIRE_KAFKA") == "1"
CLUSTERS = ("kafka", "kafka_cluster")

_used = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A real Kafka of one broker, started when the first test asks for it."""
    with _cluster(1, pytestconfig) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka_cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A real Kafka of three brokers (replication 3, two in sync), started when the first test asks."""
    with _cluster(3, pytestconfig) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _healed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to a cluster's brokers is undone before the next test."""
    yield
    for name in CLUSTERS:
        if name in request.fixturenames:
            cluster: Cluster = request.getfixturevalue(name)
            if not cluster.untouched:
                cluster.heal()


@pytest.fixture
def independent(kafka: Cluster) -> Independent:
    """A reader and writer of `kafka` that shares no code with ours."""
    return Independent(kafka.bootstrap)


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A word no other test uses, for topics and groups: `test-handles-once-3f2a91c4`."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.originalname or request.node.name)
    return f"{name[:60]}-{uuid.uuid4().hex[:8]}"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_used] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if set(CLUSTERS) & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")


def pytest_report_header() -> str:
    must = "required" if REQUIRED else "else those tests are skipped"
    return f"real kafka: started when a test asks for it ({must})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_used] or ["no test asked for one"]:
        terminalreporter.write_line(f"real kafka: {line}")


@contextmanager
def _cluster(size: int, config: pytest.Config) -> Iterator[Cluster]:
    told = config.stash[_used]
    with ExitStack() as ends:
        try:
            cluster, seconds = ends.enter_context(open_cluster(size))
        except Unavailable as reason:
            told.append(f"none of {size}: {reason}")
            if REQUIRED:
                pytest.fail(f"REQUIRE_KAFKA=1, but there is no real Kafka: {reason}", pytrace=False)
            pytest.skip(f"no real Kafka: {reason}")
        except BaseException:
            told.append(f"a cluster of {size} did not start")
            raise
        told.append(f"{cluster.origin}, brokers: {size}, ready after {seconds:.1f} s")
        yield cluster
