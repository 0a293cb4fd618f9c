"""Rights that are withdrawn and given back, and addresses that lead nowhere: what a guarded broker may do."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.faults.checks import longest_stall
from tests.faults.conftest import NewCrew
from tests.faults.evidence import Allowed
from tests.faults.gathering import DEAD_LETTERS
from tests.faults.trial import Trial, Trials
from tests.support.guarded import Guarded
from tests.support.services import Service
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

MANY = 25_000
FIRST = 1_000_000
"""The id of the first that a scenario writes itself: far above those of a load."""
STALL_SECONDS = 3.0
DRAIN_SECONDS, SHUTDOWN_SECONDS, AROUND_SECONDS = 2, 4, 1.5


def test_one_of_two_topics_may_not_be_read_any_more(
    guarded: Guarded, new_crew: NewCrew, trials: Trials
) -> None:
    """Work of it is not yet committed. The other goes on, and so do its commits, beyond `max_uncommitted`."""
    user = guarded.new_user()
    crew = new_crew(guarded.cluster, access=user.environment)
    work, other = crew.topic("work"), crew.topic("other")
    guarded.grant(user, "READ", topic=work)
    guarded.grant(user, "READ", topic=other)
    guarded.grant(user, "READ", group=crew.group)
    guarded.grant(user, "WRITE", "CREATE", "DESCRIBE", topic=f"{crew.name}.{DEAD_LETTERS}")
    two_topics: dict[str, Any] = {"FAULTS_TOPICS": "work,other", "FAULTS_SLOWEST_SECONDS": 0}
    allowed = Allowed(recovery=5, down_within=15, back_within=15)
    with trials.run(
        "F35 rights withdrawn from one of two topics", crew, 1, allowed=allowed, **two_topics
    ) as t:
        t.add_topic("other")
        with t.fault("READ withdrawn from one topic"):
            handle_uncommitted(t, other, 5)
            guarded.withdraw(user, "READ", topic=other)
            crew.give(FIRST, MANY)
            t.handle_more(MANY)
            until_committed(t, work, 30)
            guarded.grant(user, "READ", topic=other)
        until_committed(t, other, 15)
    assert longest_stall(trials.evidence) < STALL_SECONDS


def handle_uncommitted(trial: Trial, topic: str, many: int) -> None:
    """So many records are handled, and their commit is not made yet."""
    values = [f'{{"Id":{FIRST - 1 - n}}}' for n in range(many)]
    trial.crew.witness.write(topic, values, key="uncommitted")
    until(lambda: handled_of(trial, topic) == many, 10, "the other topic's records to be handled")
    assert sum(trial.crew.committed(topic).values()) < many, "they are not committed yet"


def handled_of(trial: Trial, topic: str) -> int:
    return sum(note.topic == topic and note.event == "ok" for note in trial.crew.ledger.notes())


def until_committed(trial: Trial, topic: str, within: float) -> None:
    """Wait until all is committed that the topic has now."""
    there = trial.crew.witness.ends(topic)

    def is_committed() -> bool:
        committed = trial.crew.committed(topic)
        return all(committed.get((topic, partition), 0) >= end for partition, end in there.items())

    until(is_committed, within, f"{topic} to be committed")


def test_an_address_that_leads_nowhere_is_named(guarded: Guarded, new_crew: NewCrew) -> None:
    """A broker answers and names itself by a closed port, or by a name that does not resolve."""
    crew = new_crew(guarded.cluster)
    crew.topic("work")
    hurried: dict[str, Any] = {
        "KAFKA_DRAIN_TIMEOUT_SECONDS": DRAIN_SECONDS,
        "KAFKA_SHUTDOWN_TIMEOUT_SECONDS": SHUTDOWN_SECONDS,
    }
    lost = {
        door: crew.hire(door.lower(), KAFKA_BOOTSTRAP_SERVERS=guarded.astray[door], **hurried).start()
        for door in ("CLOSED", "NAMELESS")
    }
    for door, service in lost.items():
        service.wait_for("/health/kafka/ready", 503, 30)
        until(lambda: names(service, guarded.named[door]), 30, f"{guarded.named[door]} to be named")  # noqa: B023
        said = service.said("/health/kafka")
        assert guarded.astray[door] in said, "where the broker answers"
        assert "advertised.listeners" in said, "what to check"
        assert "topic_missing" not in said, "no broker said that"
        assert service.status_of("/health/kafka/live") == 200
    for service in lost.values():
        told_at = time.monotonic()
        assert service.terminate() == -signal.SIGTERM
        assert time.monotonic() - told_at <= SHUTDOWN_SECONDS + AROUND_SECONDS


def names(service: Service, address: str) -> bool:
    return address in service.said("/health/kafka")
