"""Fixtures for every test: a real Kafka when one is asked for, a witness of it, names nobody else uses."""

from __future__ import annotations

import gc
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Protocol, TypeVar

import pytest

from convex_messaging_fastapi.transport.kafka.tuning import Tuning
from tests.support.databases import (  # noqa: F401 - fixtures
    DATABASES,
    mariadb,
    mariadb_server,
    postgres,
    postgres_server,
)
from tests.support.examples import use_them_by_default
from tests.support.fresh import Fresh, fresh_processes
from tests.support.guarded import Guarded, guarded_cluster
from tests.support.independent import Independent
from tests.support.required import REQUIRED, start_or_skip
from tests.support.telling import Telling, telling
from tools.kafka.cluster import Cluster
from tools.kafka.opening import open_cluster, open_with

NEED_KAFKA = ("kafka", "kafka_cluster", "kafka_with", "guarded", "network")
"""The fixtures that start one; a test that asks for one of them is marked so."""

KafkaWith = Callable[..., Cluster]
"""Takes the properties, and `coordinated=False` where groups are to find no coordinator."""


class Startable(Protocol):
    """Says which Kafka it is."""

    @property
    def origin(self) -> str: ...


Started = TypeVar("Started", bound=Startable)

_started = pytest.StashKey[list[Cluster]]()


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


@pytest.fixture(scope="session")
def kafka_with(pytestconfig: pytest.Config) -> Iterator[KafkaWith]:
    """Real Kafkas of one broker with properties of their own, each started when it is first asked for."""
    with ExitStack() as ends:
        made: dict[tuple[tuple[str, str], ...], Cluster] = {}

        def cluster(properties: Mapping[str, str], *, coordinated: bool = True) -> Cluster:
            named = tuple(sorted(properties.items()))
            if named not in made:
                opening = open_with(properties, coordinated=coordinated)
                started = _start(ends, opening, pytestconfig, f"with {dict(properties)}")
                made[named] = _remembered(started, pytestconfig)
            return made[named]

        yield cluster


@pytest.fixture(scope="session")
def guarded(pytestconfig: pytest.Config) -> Iterator[Guarded]:
    """A real Kafka of one broker with users and rights, and with doors that name it wrongly."""
    with ExitStack() as ends:
        guarded = _start(ends, guarded_cluster(), pytestconfig, "with users and rights")
        _remembered(guarded.cluster, pytestconfig)
        yield guarded


@pytest.fixture(scope="session")
def fresh() -> Iterator[Fresh]:
    """New processes for programs that need one."""
    with fresh_processes() as one:
        yield one


@pytest.fixture(autouse=True)
def _healed(pytestconfig: pytest.Config) -> Iterator[None]:
    """Whatever a test did to a cluster's brokers is undone before the next test."""
    yield
    for cluster in pytestconfig.stash[_started]:
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


@pytest.fixture
def topics_are_soon_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Kafka a topic that comes later is found in half a second, and not only when metadata grows old."""
    often = partial(Tuning, metadata_max_age_ms=500)
    monkeypatch.setattr("convex_messaging_fastapi.transport.kafka.transport.Tuning", often)


def pytest_configure(config: pytest.Config) -> None:
    use_them_by_default()
    config.stash[_started] = []
    config.pluginmanager.register(Telling(config), Telling.NAME)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if set(NEED_KAFKA) & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")
        for name in set(DATABASES) & set(getattr(item, "fixturenames", ())):
            item.add_marker(name)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All tests and what they import stay until the end: no search for garbage need go through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_report_header() -> str:
    must = "required" if REQUIRED else "else those tests are skipped"
    return f"real kafka: started when a test asks for it ({must})"


@contextmanager
def _cluster(size: int, config: pytest.Config) -> Iterator[Cluster]:
    with ExitStack() as ends:
        cluster = _start(ends, open_cluster(size), config, f"brokers: {size}")
        yield _remembered(cluster, config)


def _start(
    ends: ExitStack, opening: AbstractContextManager[Started], config: pytest.Config, what: str
) -> Started:
    """What it opens, until `ends` close, and a line about it at the end of the run."""
    told, began = telling(config).summary, time.monotonic()
    try:
        started = start_or_skip(ends, opening)
    except BaseException as reason:
        told.append(f"real kafka: none, {what}: {reason}")
        raise
    told.append(f"real kafka: {started.origin}, {what}, ready after {time.monotonic() - began:.1f} s")
    return started


def _remembered(cluster: Cluster, config: pytest.Config) -> Cluster:
    """The same; it is healed after every test that did something to it."""
    config.stash[_started].append(cluster)
    return cluster
