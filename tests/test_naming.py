"""Topics and groups by the names that the cluster knows them by."""

from __future__ import annotations

from typing import Any

import pytest

from convex_messaging_fastapi import ConfigurationError, MessagingSettings, Subscribers
from convex_messaging_fastapi.naming import Naming


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
