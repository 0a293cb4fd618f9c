"""A topic is told from a later one of the same name, by any broker that has ids, at no cost to the others."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import Schema

from convex_messaging_fastapi.transport.kafka.engine.connections import topic_ids
from convex_messaging_fastapi.transport.kafka.engine.connections.topic_ids import (
    METADATA,
    NO_ID,
    IdentifyingRequest,
    KnownTopicIds,
    TopicId,
)

A, B, C = (bytes([n]) * 16 for n in (1, 2, 3))
ANSWER: Schema = topic_ids._ANSWER


def answer(topic_id: bytes) -> bytes:
    partition: tuple[Any, ...] = (0, 4, 1, 17, [1, 2], [1], [2], {})
    brokers: list[tuple[Any, ...]] = [(1, "localhost", 9092, None, {})]
    topics: list[tuple[Any, ...]] = [(0, "orders", topic_id, False, [partition], 0, {})]
    encoded: bytes = ANSWER.encode((0, brokers, "cluster", 1, topics, 0, {}))
    return encoded


def test_two_answers_in_a_row_make_a_topic_another_and_the_one_before_is_never_believed_again() -> None:
    """A broker that is behind tells of the old topic still."""
    known = KnownTopicIds()
    heard = []
    for id in (A, B, A, B, B, A, B, C, C, A, A):
        known.hear("here", {"orders": id})
        heard.append(known.of("orders"))
    assert heard == [TopicId("here", id) for id in (A, A, A, A, B, B, B, B, C, C, C)]
    assert known.of("payments") is None
    assert [known.was_replaced(TopicId("here", id)) for id in (A, B, C)] == [True, True, False]


def test_one_answer_that_tells_of_another_topic_makes_a_second_one_wanted() -> None:
    known = KnownTopicIds()
    unsure = []
    for id in (A, B, A, B, B):
        known.hear("here", {"orders": id})
        unsure.append(known.unsure)
    assert unsure == [False, True, False, True, False]


def test_a_mirror_in_another_cluster_takes_no_topics_place() -> None:
    """Nor does the first cluster's, when clients come back to it."""
    known = KnownTopicIds()
    for cluster, id in (("here", A), ("there", B), ("here", A)):
        known.hear(cluster, {"orders": id})
        assert known.of("orders") == TopicId(cluster, id)
    assert not TopicId("here", A).is_not(TopicId("there", B))
    assert not TopicId("here", A).is_not(None)
    assert TopicId("here", A).is_not(TopicId("here", B))


def test_an_answer_reads_as_one_of_the_version_that_the_engine_knows() -> None:
    read: Any = topic_ids._Answer.decode(BytesIO(answer(A)))
    assert read.brokers == [(1, "localhost", 9092, None)]
    assert read.topics == [(0, "orders", False, [(0, 4, 1, [1, 2], [1], [2])])]
    assert (read.controller_id, read.ids) == (1, {"orders": A})


def test_a_broker_that_has_no_id_to_tell_tells_none() -> None:
    read: Any = topic_ids._Answer.decode(answer(NO_ID))
    assert read.ids == {}


def test_an_answer_that_is_cut_off_is_refused_wherever_that_is() -> None:
    whole = answer(A)
    for length in range(len(whole)):
        with pytest.raises((ValueError, IndexError, struct.error)):
            topic_ids._Answer.decode(whole[:length])


@pytest.mark.parametrize(("newest", "version"), [(5, 5), (9, 5), (10, 10), (13, 10)])
@pytest.mark.parametrize("topics", [None, [], ["orders"]])
def test_each_broker_is_asked_in_the_newest_version_that_it_knows(
    newest: int, version: int, topics: list[str] | None
) -> None:
    """About all topics, none or some; and no topic is ever made by it."""
    asked = IdentifyingRequest(MetadataRequest(topics)).prepare({METADATA: (0, newest)})
    assert (asked.API_VERSION, asked.allow_auto_topic_creation) == (version, False)
    names: Any = topics if version == 5 or topics is None else [(NO_ID, topic, {}) for topic in topics]
    assert asked.topics == names
