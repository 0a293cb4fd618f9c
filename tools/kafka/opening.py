"""Finds a real Kafka: Docker, else Maven and Java, else the one that is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from tools.kafka import by_maven
from tools.kafka.cluster import Cluster, Unavailable

NAMED = "KAFKA_TEST_BOOTSTRAP_SERVERS"


@contextmanager
def open_cluster(size: int, ports: tuple[int, ...] = ()) -> Iterator[Cluster]:
    """A ready cluster; gone at the end.

    Raises `Unavailable`, saying for each way why not and what to install.
    """
    reasons = []
    for way in (_in_docker, by_maven.start, _named):
        with ExitStack() as ends:
            try:
                cluster = way(size, ends, ports)
            except Unavailable as reason:
                reasons.append(str(reason))
                continue
            cluster.wait_ready()
            yield cluster
            return
    raise Unavailable("; or ".join(reasons))


@contextmanager
def open_with(properties: Mapping[str, str], *, coordinated: bool = True) -> Iterator[Cluster]:
    """One broker with these properties over the usual ones; gone at the end.

    With `coordinated=False` nobody waits for a coordinator of groups, for there will be none.
    Raises `Unavailable` without a Java or the jars.
    """
    with ExitStack() as ends:
        cluster = by_maven.start(1, ends, extras=by_maven.Extras(properties))
        if coordinated:
            cluster.wait_ready()
        else:
            cluster.wait_answering()
        yield cluster


def closed(way: Callable[[], object]) -> str | None:
    """Why a way to a Kafka is closed; `None` when it is open."""
    try:
        way()
    except Unavailable as reason:
        return str(reason)
    return None


def _in_docker(size: int, ends: ExitStack, ports: tuple[int, ...]) -> Cluster:
    from tools.kafka import by_docker  # a quarter of a second, for whoever wants a Kafka

    return by_docker.start(size, ends, ports)


def _named(size: int, ends: ExitStack, ports: tuple[int, ...]) -> Cluster:
    bootstrap = os.environ.get(NAMED)
    if not bootstrap:
        raise Unavailable(f"{NAMED} is not set: let it name a running cluster")
    if size > 1 or ports:
        raise Unavailable(f"the cluster that {NAMED} names has no brokers that a test may kill")
    return Cluster(bootstrap, f"the Kafka at {bootstrap}", size)
