"""Trouble of a bus with its cluster is told once for all its parts, and then counted."""

from __future__ import annotations

import pytest
from aiokafka import errors

from convex_messaging_fastapi import ContactLost, ContactRegained, Observer
from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.status import Problem
from convex_messaging_fastapi.transport.kafka.recovery.outage import MissingTopics, Outage

PARTS = ("the producer", "group bets", "group payments")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def held_back() -> list[int]:
    return []


@pytest.fixture
def outage(clock: ManualClock, held_back: list[int]) -> Outage:
    return Outage("kafka:9092", clock, lambda: len(held_back))


def test_all_parts_of_a_bus_lose_contact_once_and_regain_it_once(
    outage: Outage, clock: ManualClock, held_back: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    for part in PARTS:
        outage.is_over(part)
    heard_at = clock.now()
    clock.advance(6)
    for part in PARTS:
        for _ in range(10):
            outage.contact_lost(part, "kafka:9092: connection refused", heard_at)
    held_back += [1] * 42
    clock.advance(14)
    for part in PARTS:
        for _ in range(10):
            outage.is_over(part)
    assert caplog.messages == [
        "contact with Kafka at kafka:9092 is lost, trying again: kafka:9092: connection refused",
        "Kafka at kafka:9092 is in contact after 20.0 s without; "
        "42 lines of its client were held back meanwhile",
    ]


def test_contact_that_is_lost_and_regained_is_told_to_observers_as_well(
    clock: ManualClock, held_back: list[int]
) -> None:
    class Hears(Observer):
        def contact_lost(self, event: ContactLost) -> None:
            heard.append(event)

        def contact_regained(self, event: ContactRegained) -> None:
            heard.append(event)

    heard: list[ContactLost | ContactRegained] = []
    outage = Outage("kafka:9092", clock, lambda: len(held_back), Observers([Hears()]))
    for had_contact in (False, True):
        for part in PARTS:
            outage.contact_lost(part, "refused", clock.now())
        clock.advance(5)
        held_back.append(1)
        for part in PARTS:
            outage.is_over(part)
        lost, regained = heard[-2:]
        assert (lost, regained) == (
            ContactLost("kafka:9092", "refused", had_contact),
            ContactRegained("kafka:9092", 5.0, 1),
        )
    assert len(heard) == 4


def test_of_the_reasons_of_one_outage_a_few_are_told(
    outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(100):
        outage.contact_lost("the producer", f"reason {n}", None)
        outage.suffers("group bets", "did not start", f"reason {n}")
    assert len(caplog.messages) == 6


def test_what_one_part_suffers_is_told_of_it_and_so_is_that_it_goes_on(
    outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    outage.is_over("the producer")
    for _ in range(5):
        outage.suffers("group bets", "did not start", "these credentials lack READ on group bets")
    outage.is_over("the producer")
    outage.is_over("group bets")
    outage.is_over("group bets")
    assert caplog.messages == [
        "group bets did not start, trying again: these credentials lack READ on group bets",
        "group bets goes on",
    ]


def test_a_part_that_was_stopped_is_waited_for_by_nobody(
    outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    for part in PARTS:
        outage.contact_lost(part, "refused", None)
    outage.forget("group payments")
    outage.is_over("group bets")
    assert len(caplog.messages) == 1
    outage.is_over("the producer")
    assert "is in contact after 0.0 s" in caplog.messages[-1]


def test_the_same_reason_to_replace_an_engine_is_told_once_a_minute(
    outage: Outage, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(240):
        outage.replaced("the producer", "a batch failed: NotLeader")
        outage.replaced("the producer", "another reason")
        clock.advance(0.5)
    assert caplog.messages.count("the producer is replaced: a batch failed: NotLeader") == 2
    assert len(caplog.messages) == 4


def topics_of(are_made: bool, clock: ManualClock) -> MissingTopics:
    return MissingTopics("bets", clock, are_made=are_made, patience_seconds=2)


@pytest.mark.parametrize("are_made", [False, True])
def test_a_topic_that_stays_missing_is_told_once_with_the_remedy(
    are_made: bool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    topics = topics_of(are_made, clock)
    unknown = errors.UnknownTopicOrPartitionError
    refused = {"convex.b": unknown, "convex.a": unknown, "convex.c": errors.TopicAuthorizationFailedError}
    for _ in range(100):
        topics.look(refused)
        clock.advance(0.1)
    remedy = "" if are_made else "; create what is missing, or set KAFKA_CREATE_TOPICS=true and start again"
    told = f"group bets waits for 2 topics that the cluster does not have: convex.a, convex.b{remedy}"
    assert caplog.messages == [told]
    topics.look({})
    clock.advance(5)
    topics.look({"convex.a": unknown})
    assert caplog.messages == [told], "it may come at once"
    clock.advance(2.1)
    topics.look({"convex.a": unknown})
    assert len(caplog.messages) == 2


def test_a_topic_that_comes_soon_is_not_told(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    topics = topics_of(False, clock)
    topics.look({"convex.a": errors.UnknownTopicOrPartitionError})
    clock.advance(1.9)
    topics.look({})
    assert caplog.messages == []


def test_a_topic_counts_as_missing_once_it_was_so_for_the_time_of_patience(clock: ManualClock) -> None:
    topics = topics_of(False, clock)
    refused = {"convex.a": errors.UnknownTopicOrPartitionError}
    assert not topics.may_come({})
    topics.look(refused)
    assert topics.may_come(refused)
    assert topics.explain(refused) is None
    clock.advance(2.1)
    topics.look(refused)
    assert not topics.may_come(refused)
    found = topics.explain(refused)
    assert found is not None
    assert found.problem is Problem.TOPIC_MISSING


def test_what_a_broker_refuses_for_want_of_rights_is_explained_at_once(clock: ManualClock) -> None:
    refused = {
        "convex.a": errors.UnknownTopicOrPartitionError,
        "convex.b": errors.TopicAuthorizationFailedError,
    }
    found = topics_of(False, clock).explain(refused)
    assert found is not None
    assert found.problem is Problem.NOT_AUTHORIZED
