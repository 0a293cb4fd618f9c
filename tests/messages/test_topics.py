"""Names on the wire: the prefix, the topics that are ours, and what Kafka refuses."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.messages import dead_letter_topic, topic_on_wire
from convex_messaging_fastapi.messages.topics import (
    MAX_TOPIC_LENGTH,
    control_topic,
    dead_letter_states,
    is_legal,
    replay_topic,
    replay_topics_beside,
)

names = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=40)


def test_the_prefix_is_put_before_the_topic() -> None:
    assert topic_on_wire("convex", "user.created") == "convex.user.created"


def test_nothing_is_added_when_the_prefix_is_empty() -> None:
    assert topic_on_wire("", "user.created") == "user.created"
    assert dead_letter_topic("") == "dlq"


@given(prefix=names, topic=names)
def test_the_prefix_is_never_added_twice(prefix: str, topic: str) -> None:
    on_wire = topic_on_wire(prefix, topic)
    assert topic_on_wire(prefix, on_wire) == on_wire


def test_a_topic_that_only_begins_like_the_prefix_gets_it() -> None:
    assert topic_on_wire("convex", "convexity") == "convex.convexity"
    assert topic_on_wire("convex", "convex") == "convex.convex"


def test_dead_letters_live_under_the_prefix() -> None:
    assert dead_letter_topic("convex") == "convex.dlq"


@pytest.mark.parametrize(
    "topic", ["user created", "über", "a/b", "a\nb", "a:b", "x" * 243, "a" * 100_000, ""]
)
def test_a_name_that_kafka_refuses_is_refused_with_a_sentence(topic: str) -> None:
    with pytest.raises(ConfigurationError, match="topic") as refusal:
        topic_on_wire("convex", topic)
    assert len(str(refusal.value)) < 300
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("topic", [".", ".."])
def test_the_names_of_directories_are_refused(topic: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'\.' and '\.\.'"):
        topic_on_wire("", topic)


def test_the_longest_legal_name_is_taken() -> None:
    assert len(topic_on_wire("convex", "x" * 242)) == 249


def test_states_and_pauses_live_under_the_prefix_too() -> None:
    assert (dead_letter_states("convex"), control_topic("convex")) == ("convex.dlq.state", "convex.control")


@pytest.mark.parametrize(
    ("prefix", "group", "topic"),
    [
        ("convex", "payments", "convex.payments.replay"),
        ("convex", "convex.payments", "convex.payments.replay"),
        ("convex", "convex", "convex.convex.replay"),
        ("", "payments", "payments.replay"),
        ("convex", "pay:ments", "convex.payments-935ca8ed.replay"),
        ("convex", "convex.pay ments", "convex.payments-427b20d2.replay"),
        ("convex", "\u00fc", "convex.-e02c8574.replay"),
        ("", "\u00fc", "-e02c8574.replay"),
        ("convex", "g" * 235, f"convex.{'g' * 235}.replay"),
        ("convex", "g" * 236, f"convex.{'g' * 100}-57561a56.replay"),
        ("p" * 220, "g" * 30, f"{'p' * 220}.{'g' * 12}-509e0d8c.replay"),
    ],
)
def test_a_group_has_a_topic_for_its_replays(prefix: str, group: str, topic: str) -> None:
    """Written out, since processes of different releases must agree on it."""
    assert replay_topic(prefix, group) == topic
    assert replay_topics_beside(topic.removesuffix("replay") + "retry.5s") == [topic]


@given(prefix=st.just("") | names, group=st.text(min_size=1) | st.text(min_size=200))
def test_whatever_a_group_is_called_its_topic_has_a_legal_name(prefix: str, group: str) -> None:
    topic = replay_topic(prefix, group)
    assert is_legal(topic)
    assert topic_on_wire(prefix, topic) == topic


def test_groups_that_differ_in_what_is_cut_off_have_topics_of_their_own() -> None:
    groups = [f"{'g' * 236}{n}" for n in range(100)] + [f"pay{mark}ments" for mark in ":;/ \u00fc"]
    assert len({replay_topic("convex", group) for group in groups}) == len(groups)


@pytest.mark.parametrize(
    ("topic", "beside"),
    [
        ("convex.bets.retry.", ["convex.bets.replay"]),
        ("convex.bets.retry.retry.5s", ["convex.bets.replay", "convex.bets.retry.replay"]),
        ("convex.bets.retry", []),
        ("convex.bets.retry-5s", []),
        ("convex.bets", []),
    ],
)
def test_a_topic_in_which_messages_wait_for_another_try_shows_by_its_name(
    topic: str, beside: list[str]
) -> None:
    assert replay_topics_beside(topic) == beside


def test_under_a_prefix_that_leaves_no_room_a_group_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=f"Kafka takes {MAX_TOPIC_LENGTH}"):
        replay_topic("p" * 240, "payments")
