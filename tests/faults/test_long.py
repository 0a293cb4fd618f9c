"""Half an hour of faults that come by chance, one after another, on three brokers with four workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.faults.crew import Crew
from tests.faults.evidence import Allowed
from tests.faults.trial import Trial, Trials
from tests.support.frames import BLACK_HOLE, DEAF, FORGOTTEN, MUTE, Api, Fate, answers, slow
from tests.support.proxied import Proxied
from tests.support.services import Service
from tests.support.waiting import pass_time

MINUTES = float(os.environ.get("FAULTS_MINUTES", "30"))
MAX_UNCOMMITTED = 200
SETTINGS: Mapping[str, Any] = {
    "KAFKA_MAX_UNCOMMITTED": MAX_UNCOMMITTED,
    "KAFKA_MAX_RETRY_ATTEMPTS": 2,
    "KAFKA_RETRY_DELAY_SECONDS": 0.1,
    "FAULTS_POISONED": "key-7",
    "FAULTS_CURE": "never",
}
ALLOWED = Allowed(repeats=MAX_UNCOMMITTED, drained=60, rss_mib=32, files=8, threads=2, tasks=8)
CUTS = (BLACK_HOLE, MUTE, DEAF, FORGOTTEN)

pytestmark = [pytest.mark.long, pytest.mark.timeout(MINUTES * 60 + 600)]


def a_broker_is_killed(trial: Trial, network: Proxied) -> None:
    trial.chance.choice(trial.crew.cluster.brokers).kill()
    trial.handle_more(100)
    trial.crew.cluster.heal()


def a_leader_is_killed(trial: Trial, network: Proxied) -> None:
    trial.crew.cluster.leader(trial.topic, trial.chance.randrange(4)).kill()
    trial.handle_more(100)
    trial.crew.cluster.heal()


def a_broker_is_restarted(trial: Trial, network: Proxied) -> None:
    trial.chance.choice(trial.crew.cluster.brokers).terminate()
    trial.handle_more(100)
    trial.crew.cluster.heal()


def a_broker_is_frozen(trial: Trial, network: Proxied) -> None:
    trial.chance.choice(trial.crew.cluster.brokers).pause()
    pass_time(trial.chance.uniform(1, 12))
    trial.crew.cluster.heal()


def the_cluster_is_down(trial: Trial, network: Proxied) -> None:
    for broker in trial.crew.cluster.brokers:
        broker.kill()
    pass_time(trial.chance.uniform(1, 15))
    trial.crew.cluster.heal()


def clients_are_cut_off(trial: Trial, network: Proxied) -> None:
    with network.following(trial.chance.choice(CUTS)):
        pass_time(trial.chance.uniform(1, 15))


def clients_are_cut_off_from_one_broker(trial: Trial, network: Proxied) -> None:
    proxy = network.before(trial.chance.choice(trial.crew.cluster.brokers))
    with proxy.following(trial.chance.choice(CUTS)):
        pass_time(trial.chance.uniform(1, 15))


def connections_are_reset(trial: Trial, network: Proxied) -> None:
    network.reset()


def the_network_is_slow(trial: Trial, network: Proxied) -> None:
    with network.following(slow(trial.chance.uniform(0.02, 0.2), trial.chance.uniform(0, 0.2))):
        pass_time(trial.chance.uniform(2, 8))


def answers_are_lost(trial: Trial, network: Proxied) -> None:
    api = trial.chance.choice(list(Api))
    with network.following(answers(api, trial.chance.choice(list(Fate)))):
        pass_time(trial.chance.uniform(1, 8))


def a_worker_is_killed(trial: Trial, network: Proxied) -> None:
    worker = a_mortal(trial)
    trial.kill(worker)
    pass_time(trial.chance.uniform(0, 4))
    worker.start().wait_ready()


def a_worker_is_restarted(trial: Trial, network: Proxied) -> None:
    worker = a_mortal(trial)
    trial.stop(worker)
    worker.start().wait_ready()


def a_worker_is_frozen(trial: Trial, network: Proxied) -> None:
    """Sometimes for longer than its session: then its successors may overlap with it."""
    worker = trial.workers["four"]
    trial.freeze(worker, trial.chance.uniform(1, 10))
    worker.wait_ready()


FAULTS: tuple[Callable[[Trial, Proxied], None], ...] = (
    a_broker_is_killed,
    a_leader_is_killed,
    a_broker_is_restarted,
    a_broker_is_frozen,
    the_cluster_is_down,
    clients_are_cut_off,
    clients_are_cut_off_from_one_broker,
    connections_are_reset,
    the_network_is_slow,
    answers_are_lost,
    a_worker_is_killed,
    a_worker_is_restarted,
    a_worker_is_frozen,
)


def test_random_faults_lose_nothing_and_leave_nothing_behind(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """The worker `one` lives through all of it, and holds no more in the end than at the start."""
    ends_at = time.monotonic() + MINUTES * 60
    scenario = f"{MINUTES:g} minutes of random faults"
    with trials.run(
        scenario, crew_through_proxies, workers=4, allowed=ALLOWED, a_second=100, **SETTINGS
    ) as trial:
        while time.monotonic() < ends_at:
            fault = trial.chance.choice(FAULTS)
            with trial.fault(fault.__name__.replace("_", " ")):
                fault(trial, network)
            trial.handle_more(trial.chance.randint(50, 500))


def a_mortal(trial: Trial) -> Service:
    return trial.workers[trial.chance.choice(["two", "three", "four"])]
