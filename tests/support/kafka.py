"""Finds a real Kafka for a test session: Docker, else Maven and Java, else the one that is named.

`python -m tests.support.kafka` runs one broker on localhost:9092 until it is interrupted.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.support import by_docker, by_maven
from tests.support.cluster import Cluster, Unavailable

NAMED = "KAFKA_TEST_BOOTSTRAP_SERVERS"


@contextmanager
def open_cluster(size: int, ports: tuple[int, ...] = ()) -> Iterator[tuple[Cluster, float]]:
    """A ready cluster and how many seconds it took; gone at the end.

    Raises `Unavailable`, saying for each way why not and what to install.
    """
    reasons = []
    for way in (by_docker.start, by_maven.start, _named):
        started = time.monotonic()
        with ExitStack() as ends:
            try:
                cluster = way(size, ends, ports)
            except Unavailable as reason:
                reasons.append(str(reason))
                continue
            cluster.wait_ready()
            yield cluster, time.monotonic() - started
            return
    raise Unavailable("; or ".join(reasons))


def closed(way: Callable[[], object]) -> str | None:
    """Why a way to a Kafka is closed; `None` when it is open."""
    try:
        way()
    except Unavailable as reason:
        return str(reason)
    return None


def _named(size: int, ends: ExitStack, ports: tuple[int, ...]) -> Cluster:
    bootstrap = os.environ.get(NAMED)
    if not bootstrap:
        raise Unavailable(f"{NAMED} is not set: let it name a running cluster")
    if size > 1 or ports:
        raise Unavailable(f"the cluster that {NAMED} names has no brokers that a test may kill")
    return Cluster(bootstrap, f"the Kafka at {bootstrap}", size)


def main() -> None:
    """One broker in the foreground."""
    with open_cluster(1, (9092,)) as (cluster, seconds):
        print(
            f"{cluster.origin} is ready on localhost:9092 after {seconds:.1f} s; Ctrl-C ends it", flush=True
        )
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
