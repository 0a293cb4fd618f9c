"""What `doctor` says of a cluster, without one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from convex_messaging_fastapi.cli.doctor.cluster import Seen, of_topics
from convex_messaging_fastapi.cli.doctor.needs import Needs
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.kafka.admin import SeenCluster, SeenGroup, SeenPartition, SeenTopic

COPIES = (1, 2)
READ = {"payments": ("orders", "refunds"), "counting": ("orders",)}
IDLE = "group counting has 5 members for 4 partitions: some are idle"


def seen_with(members: Mapping[str, int], partitions: Mapping[str, int]) -> Seen:
    topics = tuple(
        SeenTopic(name, False, tuple(SeenPartition(id, 1, COPIES, COPIES) for id in range(count)))
        for name, count in partitions.items()
    )
    groups = {name: SeenGroup(name, "Stable", ("here",) * count, None) for name, count in members.items()}
    needs = Needs(("orders", "refunds"), READ, tuple(READ), "dlq", "dlq.state", (), is_of_app=True)
    settings = MessagingSettings(bootstrap_servers="kafka:9092")
    return Seen(settings, needs, SeenCluster("c", (), topics), {}, groups)


@pytest.mark.parametrize(
    ("members", "refunds", "idle"),
    [
        ({"payments": 5, "counting": 4}, 1, []),
        ({"payments": 1, "counting": 5}, 1, [IDLE]),
        ({"payments": 4, "counting": 1}, 1, []),
        ({"payments": 1, "counting": 1}, 0, []),
        ({}, 1, []),
    ],
    ids=str,
)
def test_members_are_idle_beyond_all_partitions_that_their_group_reads(
    members: Mapping[str, int], refunds: int, idle: list[str]
) -> None:
    partitions = {"orders": 4} | ({"refunds": refunds} if refunds else {})
    found = [each for each in of_topics(seen_with(members, partitions)) if "idle" in each.fact]
    assert [each.fact for each in found] == idle
    assert all(each.fix.endswith("--alter --topic orders --partitions 5") for each in found)
