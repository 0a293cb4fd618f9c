"""What every cluster of ours is made of, wherever its brokers run."""

from __future__ import annotations

import random
import socket
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from functools import cache
from itertools import cycle

from tools.kafka.cluster import DEFAULT_PARTITIONS

HOST = "127.0.0.1"
_BLOCK = 400
_claims: list[socket.socket] = []
CLUSTER_ID = urlsafe_b64encode(b"convex-messaging").decode().rstrip("=")  # Kafka wants sixteen bytes


def shared_properties(size: int) -> dict[str, str]:
    """Settings of a broker in a cluster of `size`: nothing is lost by one broker of three."""
    in_sync = max(1, size - 1)
    return {
        "num.partitions": str(DEFAULT_PARTITIONS),
        "default.replication.factor": str(size),
        "min.insync.replicas": str(in_sync),
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": str(size),
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": str(size),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": str(size),
        "share.coordinator.state.topic.min.isr": str(in_sync),
        "group.initial.rebalance.delay.ms": "0",
        # a killed broker is missed after this, and may come back under its old name after this
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "500",
        "log.cleaner.dedupe.buffer.size": "8388608",
    }


def free_ports() -> Iterator[int]:
    """Ports nobody has, below those that the kernel gives to outgoing connections.

    A client that calls a dead broker on such a port may be connected to itself, and keeps the
    broker from coming back.
    """
    ours = _ours()
    for _ in range(_BLOCK):
        port = next(ours)
        if is_free(port):
            yield port


@cache
def _ours() -> Iterator[int]:
    """Around a block that no other run of tests on this machine takes from, as long as this one lasts.

    In turns: whoever was given a port may not listen on it yet.
    """
    for first in random.sample(range(20_000, 32_000, _BLOCK), 12_000 // _BLOCK):
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((HOST, first))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return cycle(range(first + 1, first + _BLOCK))
    raise RuntimeError("every block of ports between 20000 and 32000 is taken by other runs of these tests")


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
