"""Names on the wire: the prefix, the dead-letter topic, queue groups, and what Kafka refuses."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.messages import dead_letter_topic, topic_on_wire

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
