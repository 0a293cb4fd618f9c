"""`topics`: what a cluster has, and what is said where there is none."""

from __future__ import annotations

import pytest

from tests.cli.calls import Cli
from tests.support.wire import WireCluster


def test_topics_are_listed(cli: Cli, wire: WireCluster) -> None:
    ran = cli("topics", "list", "--bootstrap-servers", wire.bootstrap_servers)
    assert ran.code == 0, ran.err
    assert [line.split(maxsplit=3) for line in ran.lines] == [
        ["TOPIC", "PARTITIONS", "REPLICAS", "STATE"],
        ["convex.orders", "2", "1", "in sync"],
    ]


def test_a_broker_that_is_away_is_3(cli: Cli) -> None:
    ran = cli("topics", "list", "--bootstrap-servers", "127.0.0.1:1")
    assert ran == (3, "", "error: 127.0.0.1:1: connection refused\n")


@pytest.mark.parametrize("servers", ["memory://", "memory://shared"])
def test_a_broker_in_memory_cannot_be_asked(cli: Cli, servers: str) -> None:
    ran = cli("topics", "list", "--bootstrap-servers", servers)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: bootstrap_servers is {servers}, a broker inside the app's process")
