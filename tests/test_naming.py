"""Topics and groups by the names that the cluster knows them by."""

from __future__ import annotations

from typing import Any

import pytest

from convex_messaging_fastapi import ConfigurationError, DeclarationError, MessagingSettings, Subscribers
from convex_messaging_fastapi.naming import MAX_REMEMBERED, Naming


def naming(**settings: Any) -> Naming:
    return Naming(MessagingSettings(**{"bootstrap_servers": "memory://", **settings}))


@pytest.mark.parametrize(
    ("prefix", "topic", "wire"),
    [
        ("convex", "bet.placed", "convex.bet.placed"),
        ("convex", "convex.bet.placed", "convex.bet.placed"),
        ("", "bet.placed", "bet.placed"),
    ],
)
def test_a_topic_has_its_prefix_once(prefix: str, topic: str, wire: str) -> None:
    assert naming(topic_prefix=prefix).topic(topic) == wire


@pytest.mark.parametrize(("prefix", "wire"), [("convex", "convex.dlq"), ("", "dlq")])
def test_dead_letters_have_one_topic(prefix: str, wire: str) -> None:
    assert naming(topic_prefix=prefix).dead_letters == wire


@pytest.mark.parametrize("topic", [3, {"a": "message"}, b"bet.placed"])
def test_what_is_no_text_is_refused_with_the_order_of_the_arguments(topic: Any) -> None:
    with pytest.raises(ConfigurationError, match="it comes first, then the message"):
        naming().topic(topic)


@pytest.mark.parametrize(
    ("verb", "options", "settings", "group"),
    [
        ("subscriber", {}, {}, "bets"),
        ("subscriber", {"group": "audit"}, {}, "audit"),
        ("receiver", {}, {}, "convex.settle"),
        ("receiver", {}, {"queue_group": "settlers"}, "settlers"),
        ("receiver", {}, {"topic_prefix": ""}, "settle"),
    ],
)
def test_a_handler_reads_in_its_own_group_its_queue_s_or_the_service_s(
    verb: str, options: dict[str, Any], settings: dict[str, Any], group: str
) -> None:
    subscribers = Subscribers()
    getattr(subscribers, verb)("settle", **options)(handle)
    (declared,) = subscribers
    assert naming(consumer_group="bets", **settings).group_of(declared) == group


async def handle(message: Any) -> None: ...


def reading(*groups: str, topic: str = "orders", **settings: Any) -> Naming:
    """The names of a bus whose handlers read this topic in these groups."""
    subscribers, names = Subscribers(), naming(consumer_group="bets", **settings)
    for group in groups:
        subscribers.subscriber(topic, group=group)(handle)
    names.take_in(subscribers)
    return names


OURS = [
    ("dlq.state", "what became of dead letters"),
    ("convex.dlq.state", "what became of dead letters"),
    ("control", "pauses"),
    ("payments.replay", "dead letters of group 'payments' are replayed"),
    ("convex.payments.replay", "dead letters of group 'payments' are replayed"),
    ("payments.retry.5s", "messages of group 'payments' wait"),
    ("convex.payments.retry.", "messages of group 'payments' wait"),
]

THEIRS = [
    "payments",
    "payments.made",
    "payments.replays",
    "payments.retry",
    "bets.replay",
    "dlq.states",
    "dlqs",
]


@pytest.mark.parametrize(("topic", "use"), OURS)
def test_a_topic_of_ours_is_neither_read_nor_published_to(topic: str, use: str) -> None:
    with pytest.raises(DeclarationError, match=f"cannot read topic 'convex..*{use}"):
        reading("payments", topic=topic)
    with pytest.raises(ConfigurationError, match=f"published to topic 'convex..*{use}"):
        reading("payments").to_publish(topic)


@pytest.mark.parametrize("topic", ["dlq", "convex.dlq"])
def test_dead_letters_may_be_read_and_are_written_by_the_bus_alone(topic: str) -> None:
    with pytest.raises(ConfigurationError, match="dead letters are written there"):
        reading("payments", topic=topic).to_publish(topic)


@pytest.mark.parametrize("topic", THEIRS)
def test_a_topic_whose_name_only_begins_like_a_group_is_the_user_s(topic: str) -> None:
    assert reading("payments", topic=topic).to_publish(topic) == f"convex.{topic}"


def test_without_a_prefix_the_same_names_are_ours() -> None:
    names = reading("payments", topic_prefix="")
    for topic, _ in OURS:
        if not topic.startswith("convex."):
            with pytest.raises(ConfigurationError):
                names.to_publish(topic)
    assert names.to_publish("convex.dlq") == "convex.dlq"


def test_two_groups_of_one_bus_have_no_topic_in_common() -> None:
    with pytest.raises(DeclarationError, match=r"the groups 'payments' and 'convex.payments' of one bus"):
        reading("payments", "orders", "convex.payments")


def test_where_names_are_cut_a_hash_tells_groups_apart() -> None:
    names = reading("pay:ments", "convex.pay:ments", "pay/ments")
    assert len({names.replay(group) for group in ("pay:ments", "convex.pay:ments", "pay/ments")}) == 3


def test_a_queue_may_clash_with_the_service_s_own_group() -> None:
    subscribers, names = Subscribers(), naming(consumer_group="settle")
    subscribers.subscriber("orders")(handle)
    subscribers.receiver("settle")(handle)
    with pytest.raises(DeclarationError, match=r"'settle' and 'convex.settle'.*'convex.settle.replay'"):
        names.take_in(subscribers)


def test_what_is_refused_changes_nothing() -> None:
    names, other = reading("payments"), Subscribers()
    other.subscriber("orders", group="bets")(handle)
    other.subscriber("control")(handle)
    with pytest.raises(DeclarationError):
        names.take_in(other)
    assert names.to_publish("bets.replay") == "convex.bets.replay"


def test_a_name_that_was_published_to_becomes_ours_with_a_group_that_joins() -> None:
    names, more = reading("payments"), Subscribers()
    assert [names.to_publish("bets.replay") for _ in range(2)] == ["convex.bets.replay"] * 2
    more.subscriber("orders", group="bets")(handle)
    names.take_in(more)
    with pytest.raises(ConfigurationError):
        names.to_publish("bets.replay")


def test_names_to_publish_to_are_remembered_within_a_bound() -> None:
    names = reading("payments")
    for n in range(3 * MAX_REMEMBERED):
        assert names.to_publish(f"t{n}") == f"convex.t{n}"
    assert len(names._published) <= MAX_REMEMBERED


@pytest.mark.parametrize("topic", [3, {"a": "message"}, b"bet.placed", ["bets"]])
def test_what_is_no_text_is_refused_by_publishing_too(topic: Any) -> None:
    with pytest.raises(ConfigurationError, match="it comes first, then the message"):
        naming().to_publish(topic)
