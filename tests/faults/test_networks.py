"""Networks that are cut, half-open, slow, or lose single answers: F6 to F9 of the fault matrix.

Clients reach their three brokers through proxies; brokers reach each other, and tests reach them,
directly. What is cut off is cut off from the workers and from whoever publishes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.crew import Crew
from tests.faults.evidence import Allowed
from tests.faults.test_brokers import OFFSETS, coordinating
from tests.faults.trial import Trials
from tests.support.frames import (
    BLACK_HOLE,
    DEAF,
    FORGOTTEN,
    MUTE,
    Api,
    Fate,
    Flow,
    Rule,
    answers,
    narrow,
    slow,
)
from tests.support.proxied import Proxied
from tests.support.proxy import Proxy
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(120)]

SESSION_SECONDS, HEARTBEAT_SECONDS = 6, 1
MAX_UNCOMMITTED = 1000
IN_TIME = SESSION_SECONDS + 2 * HEARTBEAT_SECONDS + 2

SHORT = Allowed(recovery=IN_TIME)
"""Shorter than a session: nobody is put out of the group, so nothing comes again."""
LONG = Allowed(repeats=MAX_UNCOMMITTED, recovery=IN_TIME)
"""Longer than a session."""
LONGER = Allowed(repeats=MAX_UNCOMMITTED, recovery=IN_TIME, down_within=15)
"""So long that ready has to say so."""


def test_all_brokers_are_cut_off_for_a_moment(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    with trials.run(
        "F6 all brokers cut off for 5 s", crew_through_proxies, allowed=SHORT, KAFKA_SESSION_TIMEOUT_MS=10_000
    ) as trial:
        with trial.fault("a cut of 5 s"), network.following(BLACK_HOLE):
            pass_time(5)
        trial.handle_more(300)


def test_all_brokers_are_cut_off_for_long_and_what_was_held_arrives_late(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    with trials.run("F6 all brokers cut off for 20 s", crew_through_proxies, allowed=LONGER) as trial:
        with trial.fault("a cut of 20 s"), network.following(BLACK_HOLE):
            pass_time(20)
        trial.handle_more(300)


def test_all_brokers_are_cut_off_for_long_and_connections_are_reset(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    with trials.run(
        "F6 all brokers cut off for 20 s, with RST", crew_through_proxies, allowed=LONGER
    ) as trial:
        with (
            trial.fault("a reset and a cut of 20 s"),
            network.following(Rule(Flow(Fate.HOLD), Flow(Fate.HOLD), refuse=True)),
        ):
            network.reset()
            pass_time(20)
        trial.handle_more(300)


def test_old_connections_are_forgotten_while_new_ones_pass(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """As by a firewall that lost its table: nobody is told, and the old connections stay silent for ever."""
    with trials.run("F6 connections forgotten", crew_through_proxies, allowed=LONG) as trial:
        with trial.fault("connections forgotten"):
            network.set_apart(FORGOTTEN)
        trial.handle_more(300)


def test_one_broker_is_cut_off(crew_through_proxies: Crew, network: Proxied, trials: Trials) -> None:
    """The leader of a partition, then the coordinator of the group; brokers see nothing of it."""
    cluster = network.cluster
    with trials.run("F7 one broker cut off", crew_through_proxies, allowed=LONG) as trial:
        with trial.fault("the leader cut off for 8 s"):
            cut_off(network.before(cluster.leader(trial.topic)), 8)
        trial.handle_more(300)
        with trial.fault("the coordinator cut off for 8 s"):
            coordinator = cluster.leader(OFFSETS, coordinating(crew_through_proxies.group))
            cut_off(network.before(coordinator), 8)
        trial.handle_more(300)


@pytest.mark.parametrize(("rule", "who"), [(MUTE, "brokers"), (DEAF, "clients")], ids=["brokers", "clients"])
def test_one_side_hears_nothing(
    rule: Rule, who: str, crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    with trials.run(f"F8 {who} hear nothing for 8 s", crew_through_proxies, allowed=LONG) as trial:
        with trial.fault(f"{who} hear nothing"), network.following(rule):
            pass_time(8)
        trial.handle_more(300)


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        (slow(0.05, jitter=0.02), "50 ms and up to 20 more each way"),
        (slow(0.25, jitter=0.1), "250 ms and up to 100 more each way"),
        (narrow(20_000), "20 kB a second"),
    ],
    ids=["50ms", "250ms", "narrow"],
)
def test_the_way_is_slow(
    rule: Rule, what: str, crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    with trials.run(f"F9 {what}", crew_through_proxies, allowed=SHORT) as trial:
        with trial.fault(what), network.following(rule):
            trial.handle_more(200)
        trial.handle_more(200)


def test_answers_to_commits_are_lost(crew_through_proxies: Crew, network: Proxied, trials: Trials) -> None:
    """What was committed is not known; the members stay, so nothing comes again."""
    with trials.run(
        "answers to commits lost", crew_through_proxies, allowed=SHORT, KAFKA_AUTO_COMMIT_INTERVAL_MS=500
    ) as trial:
        with trial.fault("answers to commits lost"), lost(network, Api.OFFSET_COMMIT, 4):
            trial.handle_more(200)
        trial.handle_more(300)


def test_answers_to_heartbeats_are_lost(crew_through_proxies: Crew, network: Proxied, trials: Trials) -> None:
    with trials.run("answers to heartbeats lost", crew_through_proxies, allowed=LONG) as trial:
        with trial.fault("answers to heartbeats lost"), lost(network, Api.HEARTBEAT, 6):
            pass_time(SESSION_SECONDS)
        trial.handle_more(300)


def test_a_member_leaves_before_it_hears_that_it_has_joined(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """The answers to all joins of a rebalance are held until the one who began it is gone."""
    with trials.run("answers to joins held", crew_through_proxies, allowed=LONG) as trial:
        with trial.fault("answers to joins held"), network.following(answers(Api.JOIN_GROUP, Fate.HOLD)):
            third = trial.hire("three")
            until(lambda: network.held(Api.JOIN_GROUP) >= 1, 30, "an answer to a join to be held")
            third.wait_for("/health/kafka/live", 200, 30)
            trial.stop(third)
        trial.handle_more(300)


@pytest.mark.parametrize("fate", [Fate.DROP, Fate.RESET], ids=["dropped", "reset"])
def test_answers_to_what_is_published_are_lost(
    fate: Fate, crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """The brokers wrote it; idempotence keeps what is sent again from being there twice."""
    with trials.run(
        f"answers to publishing lost ({fate.name.lower()})", crew_through_proxies, allowed=SHORT
    ) as trial:
        with trial.fault("answers to publishing lost"), lost(network, Api.PRODUCE, 10, fate):
            pass
        trial.send_more(300)


def pass_time(seconds: float) -> None:
    """For as long as the fault is to last."""
    began = time.monotonic()
    until(lambda: time.monotonic() > began + seconds, seconds + 10, "the fault to be over")


def cut_off(proxy: Proxy, seconds: float) -> None:
    with proxy.following(BLACK_HOLE):
        pass_time(seconds)


@contextmanager
def lost(network: Proxied, api: Api, many: int, fate: Fate = Fate.DROP) -> Iterator[None]:
    """At least so many answers."""
    before = network.lost(api)
    with network.following(answers(api, fate)):
        yield
        until(lambda: network.lost(api) >= before + many, 40, f"{many} answers to be lost")
