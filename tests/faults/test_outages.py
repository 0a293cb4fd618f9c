"""Outages that outlast a session, and answers that a network swallows: how soon all is well again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from convex_messaging_fastapi.publishing.partitioner import murmur2
from tests.conftest import KafkaWith
from tests.faults import checks
from tests.faults.conftest import NewCrew
from tests.faults.crew import PARTITIONS, Crew, kill_brokers
from tests.faults.evidence import Allowed, Window
from tests.faults.gathering import DEAD_LETTERS
from tests.faults.trial import NAME, Trial, Trials
from tests.support.frames import FORGOTTEN
from tests.support.waiting import pass_time, until
from tools.kafka.cluster import Broker, Cluster

MAX_UNCOMMITTED = 1000
RECOVERY_SECONDS = 3.0
"""From the moment at which another client is served again to the first message that is handled."""
SERVED_SECONDS = 1.0
"""Brokers that let another client wait for longer than this are away once more."""
BROKERS_DELAY_SECONDS = 3.0
"""How long brokers wait by default for others before they begin a group."""

POISONED = "poisoned"
POISON: Mapping[str, Any] = {
    "FAULTS_POISONED": POISONED,
    "FAULTS_CURE": "never",
    "KAFKA_MAX_RETRY_ATTEMPTS": 1,
    "KAFKA_SESSION_TIMEOUT_MS": 30_000,
}
STRANGER = count(1_000_000)
"""Ids of what another client writes, far above those of a load."""


@dataclass(frozen=True)
class Outage:
    """How long it lasts, how long a session, and how often it comes."""

    seconds: float
    session_seconds: int
    times: int

    def __str__(self) -> str:
        return f"{self.seconds:g} s with sessions of {self.session_seconds} s"


BRIEF = pytest.param(Outage(9, 6, 3), marks=[pytest.mark.faults, pytest.mark.timeout(240)], id="brief")
LONG = pytest.param(Outage(40, 30, 5), marks=[pytest.mark.long, pytest.mark.timeout(600)], id="long")

GROUPS: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "one member": (1, {}),
    "two members": (2, {}),
    "two static members": (2, {"KAFKA_GROUP_INSTANCE_ID": NAME}),
}
"""How many they are, and their settings."""


@pytest.mark.parametrize("outage", [BRIEF, LONG])
def test_an_outage_longer_than_a_session_is_over_soon_after_its_end(
    outage: Outage, kafka: Cluster, new_crew: NewCrew, trials: Trials
) -> None:
    """Nobody waits for members that were put out of the group meanwhile, or that it takes for present."""
    live_through(outage, kafka, GROUPS, new_crew, trials, RECOVERY_SECONDS)


@pytest.mark.parametrize("outage", [BRIEF, LONG])
def test_an_outage_on_brokers_that_wait_for_others_takes_that_wait_more(
    outage: Outage, kafka_with: KafkaWith, new_crew: NewCrew, trials: Trials
) -> None:
    delayed = {"group.initial.rebalance.delay.ms": str(int(BROKERS_DELAY_SECONDS * 1000))}
    groups = {f"{name}, brokers that wait": GROUPS[name] for name in ("one member", "two members")}
    recovery = RECOVERY_SECONDS + BROKERS_DELAY_SECONDS
    live_through(outage, kafka_with(delayed), groups, new_crew, trials, recovery)


def live_through(
    outage: Outage,
    cluster: Cluster,
    groups: Mapping[str, tuple[int, Mapping[str, Any]]],
    new_crew: NewCrew,
    trials: Trials,
    recovery: float,
) -> None:
    """All of these groups at once, for they need the same and each has its own topic."""
    down_within = 15 if outage.seconds > 15 else None
    allowed = Allowed(repeats=MAX_UNCOMMITTED, recovery=recovery, down_within=down_within)
    judges = {name: Trials(trials.tell, trials.seed) for name in groups}
    with ExitStack() as ends:
        lived = [
            ends.enter_context(
                judges[name].run(
                    f"F33 an outage of {outage}: {name}",
                    new_crew(cluster),
                    members,
                    allowed=allowed,
                    a_second=60,
                    must_hold=False,
                    KAFKA_SESSION_TIMEOUT_MS=outage.session_seconds * 1000,
                    **settings,
                )
            )
            for name, (members, settings) in groups.items()
        ]
        for _ in range(outage.times):
            for trial in lived:
                trial.wait_at_work(*trial.workers)
            break_off(outage, cluster, lived)
    assert {name: judge.found for name, judge in judges.items() if judge.found} == {}
    assert not any(checks.unseen(judge.evidence) for judge in judges.values())


def break_off(outage: Outage, cluster: Cluster, trials: list[Trial]) -> None:
    """The brokers die, and come back; it is over when they serve another client."""
    began = kill_brokers(cluster)
    pass_time(outage.seconds, since=began)
    for broker in cluster.brokers:
        broker.start()
    with ThreadPoolExecutor(len(trials)) as threads:
        healed = list(threads.map(serve_another, trials))
    for trial, at in zip(trials, healed, strict=True):
        trial.windows.append(Window(f"an outage of {outage}", began, at))


def serve_another(trial: Trial) -> float:
    """From when on another client was served without a break, until the trial's workers are at work again.

    A broker that comes back may stall once more, with the machine it runs on: nobody can be at work then.
    """
    handled = trial.crew.ledger.count("ok")
    healed = be_served(trial)
    while trial.crew.ledger.count("ok") == handled:
        assert time.monotonic() - healed < 60, "another client is served, and nobody is at work"
        asked = time.monotonic()
        answered = be_served(trial)
        healed = answered if answered - asked > SERVED_SECONDS else healed
        pass_time(0.2)
    return healed


def be_served(trial: Trial) -> float:
    """By a leader and the group's coordinator, as a client that shares no code with ours; when both had been.

    What is written is one message more of the work, and written once, however often it was sent.
    """
    id, once = next(STRANGER), {"enable.idempotence": True}
    trial.crew.witness.write(trial.topic, [f'{{"Id":{id}}}'], key=f"stranger-{id}", settings=once)
    trial.crew.witness.committed(trial.crew.group, trial.topic)
    return time.monotonic()


@pytest.mark.faults
@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_a_question_that_a_network_swallows_is_asked_again(
    crew_through_proxies: Crew, trials: Trials
) -> None:
    """A letter is on its way when its broker is cut off; connections stay, and what was sent is forgotten.

    It lasts so long that the engine asks what became of it, and forgets that question, too.
    """
    allowed = Allowed(repeats=MAX_UNCOMMITTED, back_within=10)
    with trials.run(
        "F34 letters swallowed for 12 s", crew_through_proxies, 1, allowed=allowed, **POISON
    ) as trial:
        swallow_a_letter(trial)


def swallow_a_letter(trial: Trial) -> None:
    """And whatever else is sent to its broker; what is sent to the others is answered.

    Each second another letter goes to one of them: a publisher that hears nobody at all looks for
    the reason, and finds it by another way.
    """
    crew, network = trial.crew, trial.crew.network
    assert network is not None
    write_poison(trial, 0)
    until(lambda: letters(trial), 30, "a first letter")
    (partition,) = letters(trial)
    swallowing = crew.cluster.leader(f"{crew.name}.{DEAD_LETTERS}", partition)
    heard = [p for p in range(PARTITIONS) if crew.cluster.leader(trial.topic, p) is not swallowing]
    elsewhere = key_of_a_letter_for_another(trial, swallowing)
    with trial.fault("letters swallowed"), network.before(swallowing).following(FORGOTTEN):
        write_poison(trial, heard[0])
        until(lambda: crew.ledger.count("error") == 2, 20, "a letter to be on its way")
        for _ in range(12):
            write_poison(trial, heard[1], elsewhere)
            pass_time(1)
    # It may have landed, too, when nobody heard of it: then it is there twice.
    until(lambda: letters(trial)[partition] >= 2, 60, "the letter to be written")


def key_of_a_letter_for_another(trial: Trial, swallowing: Broker) -> str:
    """A poisoned key whose letters have a leader that is not `swallowing`."""
    topic = f"{trial.crew.name}.{DEAD_LETTERS}"
    partitions = len(trial.crew.witness.ends(topic))
    keys = (f"{POISONED}/{number}" for number in count())
    return next(
        key
        for key in keys
        if trial.crew.cluster.leader(topic, murmur2(key.encode()) % partitions) is not swallowing
    )


def write_poison(trial: Trial, partition: int, key: str = POISONED) -> None:
    id = next(STRANGER)
    trial.crew.witness.write(trial.topic, [f'{{"Id":{id}}}'], key=key, partition=partition)


def letters(trial: Trial) -> dict[int, int]:
    """How many there are in each partition that has any."""
    topic = f"{trial.crew.name}.{DEAD_LETTERS}"
    if topic not in trial.crew.cluster.metadata().topics:
        return {}
    return {partition: end for partition, end in trial.crew.witness.ends(topic).items() if end}
