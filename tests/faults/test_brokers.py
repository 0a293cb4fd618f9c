"""Brokers that die, freeze, restart and move: F1 to F5, F12, F18 and F19 of the fault matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ElectionType, TopicPartition

from tests.faults.crew import OFFSETS, PARTITIONS, Crew, coordinating, kill_brokers
from tests.faults.evidence import Allowed
from tests.faults.trial import Trial, Trials
from tests.support.waiting import pass_time, until
from tools.kafka.cluster import Broker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

SESSION_SECONDS = 6
MAX_UNCOMMITTED = 1000

OUTLASTING: Mapping[str, Any] = {"KAFKA_SESSION_TIMEOUT_MS": 10_000}
"""A session that outlasts the election of a coordinator, as it does by default: members stay members."""

OUTAGE = Allowed(repeats=MAX_UNCOMMITTED, recovery=10, down_within=15)
"""Longer than the session, so that what was not committed may come again."""


@pytest.fixture(autouse=True)
def whole_again(crew_on_three: Crew) -> Iterator[None]:
    """Whatever a test left of the cluster."""
    yield
    crew_on_three.cluster.heal()


def test_a_broker_is_killed(crew_on_three: Crew, trials: Trials) -> None:
    cluster = crew_on_three.cluster
    with trials.run("F1 kill -9 of a broker", crew_on_three, **OUTLASTING) as trial:
        with trial.fault("kill -9 of a broker"):
            trial.chance.choice(cluster.brokers).kill()
            trial.handle_more(600)
            cluster.heal()
        trial.handle_more(300)


def test_leaders_are_killed_one_after_another(crew_on_three: Crew, trials: Trials) -> None:
    cluster = crew_on_three.cluster
    with trials.run("F2 kill -9 of the leader, chased three times", crew_on_three, **OUTLASTING) as trial:
        for partition in trial.chance.sample(range(PARTITIONS), 3):
            with trial.fault(f"kill -9 of the leader of {partition}"):
                cluster.leader(trial.topic, partition).kill()
                trial.handle_more(300)
                cluster.heal()


def test_a_broker_is_restarted_in_order(crew_on_three: Crew, trials: Trials) -> None:
    with trials.run("F3 a broker restarted in order", crew_on_three, allowed=Allowed(recovery=5)) as trial:
        with trial.fault("a restart"):
            restart(trial, trial.chance.choice(crew_on_three.cluster.brokers))
        trial.handle_more(300)


def test_all_brokers_are_restarted_one_after_another(crew_on_three: Crew, trials: Trials) -> None:
    with trials.run(
        "F4 rolling restart of three brokers", crew_on_three, allowed=Allowed(recovery=5)
    ) as trial:
        for broker in crew_on_three.cluster.brokers:
            with trial.fault(f"a restart of broker {broker.id}"):
                restart(trial, broker)


def test_the_whole_cluster_is_down_for_longer_than_a_session(crew_on_three: Crew, trials: Trials) -> None:
    cluster = crew_on_three.cluster
    with trials.run("F5 the whole cluster down", crew_on_three, allowed=OUTAGE) as trial:
        with trial.fault("three brokers killed"):
            died_at = kill_brokers(cluster)
            wait_said(trial, 503, died_at)
            pass_time(2 * SESSION_SECONDS, since=died_at)
            cluster.heal()
        trial.handle_more(300)


def test_the_leader_is_frozen_for_a_moment(crew_on_three: Crew, trials: Trials) -> None:
    with trials.run("F12 a leader frozen for 3 s", crew_on_three) as trial:
        freeze(trial, crew_on_three.cluster.leader(trial.topic), 3)
        trial.handle_more(300)


def test_the_leader_is_frozen_for_long(crew_on_three: Crew, trials: Trials) -> None:
    """Longer than a session, than the brokers' own patience, and than a request may take."""
    allowed = Allowed(repeats=MAX_UNCOMMITTED)
    with trials.run("F12 a leader frozen for 20 s", crew_on_three, allowed=allowed) as trial:
        freeze(trial, crew_on_three.cluster.leader(trial.topic), 20)
        trial.handle_more(300)


def test_the_coordinator_is_killed(crew_on_three: Crew, trials: Trials) -> None:
    cluster = crew_on_three.cluster
    with trials.run(
        "F18 kill -9 of the coordinator", crew_on_three, allowed=Allowed(recovery=5), **OUTLASTING
    ) as trial:
        with trial.fault("kill -9 of the coordinator"):
            cluster.leader(OFFSETS, coordinating(crew_on_three.group)).kill()
            trial.handle_more(600)
            cluster.heal()
        trial.handle_more(300)


def test_leaders_move_without_a_crash(crew_on_three: Crew, trials: Trials) -> None:
    """After a restart a broker leads nothing until an election gives it back what it prefers to lead."""
    cluster = crew_on_three.cluster
    with trials.run("F19 leaders moved by an election", crew_on_three, allowed=Allowed(recovery=5)) as trial:
        broker = cluster.leader(trial.topic)
        with trial.fault("a restart"):
            restart(trial, broker)
        with trial.fault("an election"):
            elect_preferred(trial)
            assert cluster.leader(trial.topic).id == broker.id, "it leads again"
        trial.handle_more(300)


def test_brokers_and_workers_are_rolled_while_a_key_is_poisoned(
    crew_on_three: Crew, trials: Trials, tmp_path: Path
) -> None:
    """Three brokers and four workers one after another, a failing key in its back-off all the while.

    The drains finish, so nothing is handled twice, though what is finished lies far above what the
    poisoned key lets a partition commit.
    """
    cure = tmp_path / "cure"
    poison: dict[str, Any] = {
        "FAULTS_POISONED": "key-7",
        "FAULTS_CURE": cure,
        "KAFKA_MAX_RETRY_ATTEMPTS": 6,
        "KAFKA_RETRY_DELAY_SECONDS": 0.5,
        "KAFKA_MAX_UNCOMMITTED": 5000,
    }
    with trials.run(
        "rolling restart of three brokers and four workers, a poisoned key in back-off",
        crew_on_three,
        workers=4,
        **poison,
    ) as trial:
        for broker in crew_on_three.cluster.brokers:
            with trial.fault(f"a restart of broker {broker.id}"):
                restart(trial, broker)
        for worker in trial.workers.values():
            with trial.fault(f"a restart of worker {worker.name}"):
                trial.stop(worker)
                trial.handle_more(50)
                worker.start().wait_ready()
        assert crew_on_three.ledger.count("error") > 10, "the poisoned key failed all the while"
        cure.touch()


def restart(trial: Trial, broker: Broker) -> None:
    """SIGTERM, some load without it, and its return to all its replicas."""
    broker.terminate()
    trial.handle_more(100)
    trial.crew.cluster.heal()


def freeze(trial: Trial, broker: Broker, seconds: float) -> None:
    with trial.fault(f"a broker frozen for {seconds} s"):
        broker.pause()
        pass_time(seconds)
        trial.crew.cluster.heal()


def wait_said(trial: Trial, status: int, after: float) -> None:
    """Return once every worker's ready probe has said so since then."""
    path = "/health/kafka/ready"
    until(
        lambda: all(prober.first(path, status, after) for prober in trial.probers.values()),
        40,
        f"ready to be {status} everywhere",
    )


def elect_preferred(trial: Trial) -> None:
    partitions = [TopicPartition(trial.topic, partition) for partition in range(PARTITIONS)]
    admin = trial.crew.cluster.admin()  # which must outlive its question
    admin.elect_leaders(ElectionType.PREFERRED, partitions).result(20)
