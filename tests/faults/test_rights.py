"""Rights that are withdrawn and given back, and addresses that lead nowhere: what a guarded broker may do."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.conftest import NewCrew
from tests.faults.crew import Crew
from tests.faults.evidence import Allowed, Evidence
from tests.faults.gathering import DEAD_LETTERS
from tests.faults.trial import Trial, Trials
from tests.support.guarded import Access, Guarded
from tests.support.probing import READY
from tests.support.services import Service
from tests.support.waiting import pass_time, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

UNCOMMITTED = 5
"""So many records may come again: their commit was refused."""
FIRST = 1_000_000
"""The id of the first that a scenario writes itself: far above those of a load."""
KEYS = 8
STALL_SECONDS = 3.0
METADATA_SECONDS = 2
DRAIN_SECONDS, SHUTDOWN_SECONDS, AROUND_SECONDS = 2, 4, 1.5


TWO_TOPICS: dict[str, Any] = {"FAULTS_TOPICS": "work,other", "FAULTS_SLOWEST_SECONDS": 0}


def crew_with_rights(guarded: Guarded, new_crew: NewCrew) -> Crew:
    """It may do what a service of two topics has to, and no more."""
    user = guarded.new_user()
    crew = new_crew(guarded.cluster, access=Access(guarded, user))
    for topic in (crew.topic("work"), crew.topic("other")):
        guarded.grant(user, "READ", topic=topic)
    guarded.grant(user, "READ", group=crew.group)
    guarded.grant(user, "WRITE", "CREATE", "DESCRIBE", topic=f"{crew.name}.{DEAD_LETTERS}")
    return crew


@contextmanager
def withdrawn(trial: Trial, topic: str) -> Iterator[None]:
    """The right to read it, while there is work of it whose commit was not made yet."""
    access = trial.crew.access
    assert access is not None
    handle_uncommitted(trial, topic)
    access.may_not_read(topic)
    yield
    access.may_read(topic)


@pytest.mark.parametrize(
    ("many", "settings"),
    [(25_000, {}), (1_000, {"FAULTS_METADATA_MS": METADATA_SECONDS * 1000})],
    ids=["and much is done", "and topics are looked at again"],
)
def test_one_of_two_topics_may_not_be_read_any_more(
    many: int, settings: dict[str, Any], guarded: Guarded, new_crew: NewCrew, trials: Trials
) -> None:
    """Work of it is not yet committed. The other goes on, and so do its commits, beyond `max_uncommitted`.

    When topics are looked at again, a broker does not tell of one that may not be read.
    """
    crew = crew_with_rights(guarded, new_crew)
    allowed = Allowed(repeats=UNCOMMITTED, recovery=5, stall=STALL_SECONDS, down_within=15, back_within=15)
    scenario = f"F35 rights withdrawn from one of two topics, {many} records"
    with trials.run(scenario, crew, 1, allowed=allowed, **TWO_TOPICS, **settings) as trial:
        other = trial.add_topic("other")
        with trial.fault("READ withdrawn from one topic"), withdrawn(trial, other):
            began, handled = time.monotonic(), crew.ledger.count("ok")
            write(trial, trial.topic, many)  # handled while it is written
            crew.wait_handled(handled + many, 60)
            pass_time(3 * METADATA_SECONDS, since=began)
            until_committed(trial, trial.topic, 30)
        until_committed(trial, other, 15)
    assert not any("topic_missing" in said for said in told_in(trials.evidence)), "no broker said that"


def write(trial: Trial, topic: str, many: int) -> None:
    for key in range(KEYS):
        ids = range(FIRST + key, FIRST + many, KEYS)
        trial.crew.witness.write(topic, [f'{{"Id":{id}}}' for id in ids], key=f"many-{key}")


def told_in(evidence: Evidence) -> list[str]:
    """What ready said while something was wrong, and what came of it later."""
    (window,) = evidence.windows
    return [
        answer.said
        for answers in evidence.answers.values()
        for answer in answers
        if answer.path == READY and answer.at >= window.began
    ]


def handle_uncommitted(trial: Trial, topic: str) -> None:
    """Some records are handled, and their commit is not made yet."""
    values = [f'{{"Id":{id}}}' for id in range(FIRST - UNCOMMITTED, FIRST)]
    trial.wait_committed()
    trial.crew.witness.write(topic, values, key="uncommitted")
    until(lambda: handled_of(trial, topic) == UNCOMMITTED, 10, "the other topic's records to be handled")
    assert sum(trial.crew.committed(topic).values()) < UNCOMMITTED, "they are not committed yet"


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
