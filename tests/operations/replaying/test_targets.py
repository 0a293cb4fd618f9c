"""Where copies may go."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.errors import ReplayRefused
from convex_messaging_fastapi.naming import Naming
from convex_messaging_fastapi.operations.replaying.targets import Targets
from convex_messaging_fastapi.settings import MessagingSettings

GROUPS = ("billing", "convex.billing", "a:b")


def targets(*allowed: str) -> Targets:
    naming = Naming(MessagingSettings(topic_prefix="convex"))
    return Targets(naming, "convex", GROUPS, ("convex.dlq", "orders.DLT"), allowed)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_that_the_cluster_knows_has_its_replay_topic(group: str) -> None:
    made = targets()
    assert made.of_group(group) == made.naming.replay(group)


def test_a_group_that_it_does_not_know_has_none() -> None:
    with pytest.raises(ReplayRefused) as refused:
        targets().of_group("billings")
    assert refused.value.reason == "no_group"


@pytest.mark.parametrize(
    ("topic", "allowed", "why"),
    [
        ("convex.payments", (), None),
        ("payments", (), "not under the prefix"),
        ("payments", ("payments",), None),
        ("convexpayments", (), "not under the prefix"),
        ("__consumer_offsets", ("__consumer_offsets",), "Kafka's own"),
        ("convex.dlq", (), "dead letters"),
        ("orders.DLT", ("orders.DLT",), "dead letters"),
        ("convex.dlq.state", (), "the bus's own"),
        ("convex.control", (), "the bus's own"),
        ("convex.billing.replay", (), "the bus's own"),
        ("convex.others.replay", (), None),  # of no group here: an ordinary topic
        ("convex.a b", (), "no such name"),
        ("convex.\x1b[2J", (), "no such name"),
        ("convex." + "x" * 250, (), "no such name"),
        ("", (), "no such name"),
    ],
)
def test_topics_are_written_to_only_where_somebody_meant_it(
    topic: str, allowed: tuple[str, ...], why: str | None
) -> None:
    if why is None:
        assert targets(*allowed).original(topic) == topic
        return
    with pytest.raises(ReplayRefused) as refused:
        targets(*allowed).original(topic)
    assert (refused.value.reason, why in str(refused.value)) == ("target_not_allowed", True)
