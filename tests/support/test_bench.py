"""The bench itself: brokers die, freeze and come back, and nothing of them stays behind."""

from __future__ import annotations

import pytest

from tests.support.independent import Independent
from tests.support.waiting import eventually, until
from tools.kafka.cluster import Cluster


def test_what_the_witness_writes_it_reads_back_in_order(
    kafka: Cluster, independent: Independent, unique: str
) -> None:
    kafka.create_topic(unique, partitions=2)
    landed = independent.write(unique, [b"a", b"b", None], key="k", headers=[("h", b"v"), ("n", None)])
    seen = independent.read(unique)
    assert [(s.partition, s.offset) for s in seen] == landed
    assert [(s.key, s.value) for s in seen] == [(b"k", b"a"), (b"k", b"b"), (b"k", None)]
    assert seen[0].headers == (("h", b"v"), ("n", None))
    assert sum(independent.ends(unique).values()) == independent.lag("nobody", unique) == 3
    assert independent.committed("nobody", unique) == {}


def test_a_broker_that_was_killed_comes_back_with_its_data(kafka_cluster: Cluster, unique: str) -> None:
    if not kafka_cluster.brokers:
        pytest.skip("a named cluster has no brokers that a test may kill")
    witness = Independent(kafka_cluster.bootstrap)
    kafka_cluster.create_topic(unique, partitions=1)
    witness.write(unique, [b"before"])
    dead = kafka_cluster.leader(unique)
    dead.kill()
    assert not dead.alive
    witness.write(unique, [b"meanwhile"])
    assert kafka_cluster.leader(unique).id != dead.id
    kafka_cluster.heal()
    assert dead.alive
    assert kafka_cluster.untouched
    assert [s.value for s in witness.read(unique)] == [b"before", b"meanwhile"]


def test_a_broker_that_was_frozen_or_ended_is_healed(kafka_cluster: Cluster, unique: str) -> None:
    if not kafka_cluster.brokers:
        pytest.skip("a named cluster has no brokers that a test may kill")
    witness = Independent(kafka_cluster.bootstrap)
    kafka_cluster.create_topic(unique, partitions=1)
    frozen, ended, *_ = kafka_cluster.brokers
    frozen.pause()
    assert frozen.alive
    frozen.resume()
    ended.terminate()
    assert not ended.alive
    witness.write(unique, [b"two of three are enough"])
    kafka_cluster.heal()
    assert [s.value for s in witness.read(unique)] == [b"two of three are enough"]


async def test_waiting_says_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match="for godot"):
        until(lambda: False, 0.05, "godot")
    with pytest.raises(TimeoutError, match="for godot"):
        await eventually(lambda: False, 0.05, "godot")
