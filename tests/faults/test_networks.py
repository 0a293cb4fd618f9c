"""Networks that are cut, half-open, slow, or lose single answers: F6 to F9 of the fault matrix.

Clients reach their three brokers through proxies; brokers reach each other, and tests reach them,
directly. What is cut off is cut off from the workers and from whoever publishes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.crew import OFFSETS, Crew, coordinating
from tests.faults.evidence import OK, Allowed
from tests.faults.trial import Trial, Trials
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
from tests.support.waiting import pass_time, until

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
CLOSED = Rule(Flow(Fate.HOLD), Flow(Fate.HOLD), refuse=True)


def test_all_brokers_are_cut_off_for_a_moment(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    with run(
        trials, "F6 all brokers cut off for 5 s", crew_through_proxies, SHORT, KAFKA_SESSION_TIMEOUT_MS=10_000
    ) as trial:
        with trial.fault("a cut of 5 s"), network.following(BLACK_HOLE):
            pass_time(5)
        trial.handle_more(300)


@pytest.mark.parametrize("rst", [False, True], ids=["held", "reset"])
def test_all_brokers_are_cut_off_for_long(
    rst: bool, crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """Connections are either held, and what they held arrives late, or reset, and new ones turned away."""
    scenario = f"F6 all brokers cut off for 20 s{', with RST' if rst else ''}"
    with run(trials, scenario, crew_through_proxies, LONGER) as trial:
        with trial.fault("a cut of 20 s"), network.following(CLOSED if rst else BLACK_HOLE):
            if rst:
                network.reset()
            pass_time(20)
        trial.handle_more(300)


def test_all_brokers_swallow_what_they_are_sent(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """They still take connections, and those made meanwhile lead nowhere either, without a word of it."""
    with run(trials, "F6 all brokers mute for 9 s, and forgetful", crew_through_proxies, LONG) as trial:
        with trial.fault("everything sent is lost"), network.following(FORGOTTEN):
            pass_time(9)
        trial.handle_more(300)


def test_what_old_connections_held_arrives_after_new_ones_took_over(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """Old connections fall silent, and new ones pass, as when a firewall has lost its table.

    Nobody is told. In the end the commits, leaves and messages of what was given up arrive late.
    """
    scenario = "F6 old connections silent, released late"
    with run(trials, scenario, crew_through_proxies, LONG) as trial:
        with trial.fault("old connections silent"):
            network.set_apart(BLACK_HOLE)
            trial.send_more(100)
            trial.handle_more(100)
        with trial.fault("what they held is released"):
            network.set_apart(None)
        trial.handle_more(300)
        trial.look_at_commits()


def test_one_broker_is_cut_off(crew_through_proxies: Crew, network: Proxied, trials: Trials) -> None:
    """The leader of a partition, then the coordinator of the group; brokers see nothing of it."""
    cluster = network.cluster
    with run(trials, "F7 one broker cut off for 8 s", crew_through_proxies, LONG) as trial:
        leader = network.before(cluster.leader(trial.topic))
        with trial.fault("the leader cut off"), leader.following(BLACK_HOLE):
            pass_time(8)
        trial.handle_more(300)
        coordinator = network.before(cluster.leader(OFFSETS, coordinating(crew_through_proxies.group)))
        with trial.fault("the coordinator cut off"), coordinator.following(BLACK_HOLE):
            pass_time(8)
        trial.handle_more(300)


def test_one_worker_is_cut_off_while_another_goes_on(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """It has much to do when it is cut off, and lets go of it before the other gets its partitions."""
    slow_work = {"FAULTS_SLOWEST_SECONDS": 2, "KAFKA_CONCURRENCY": 16}
    with run(
        trials,
        "F7 one worker cut off from all brokers for 12 s",
        crew_through_proxies,
        LONG,
        workers=1,
        a_second=20,
        KAFKA_CLIENT_ID="one",
        **slow_work,
    ) as trial:
        trial.hire("two", KAFKA_CLIENT_ID="two", **slow_work).wait_ready()
        trial.wait_at_work("one", "two")
        with trial.fault("one worker cut off"):
            network.single_out("one", BLACK_HOLE)
            pass_time(12)
            network.single_out("one", None)
        trial.wait_at_work("one", "two")


@pytest.mark.parametrize(("rule", "who"), [(MUTE, "brokers"), (DEAF, "clients")], ids=["brokers", "clients"])
def test_one_side_hears_nothing(
    rule: Rule, who: str, crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    with run(trials, f"F8 {who} hear nothing for 8 s", crew_through_proxies, LONG) as trial:
        with trial.fault(f"{who} hear nothing"), network.following(rule):
            pass_time(8)
        trial.handle_more(300)


@pytest.mark.parametrize(
    ("rule", "what", "many"),
    [
        (slow(0.05, jitter=0.02), "50 ms and up to 20 more each way", 200),
        (slow(0.25, jitter=0.1), "250 ms and up to 100 more each way", 60),
        (narrow(20_000), "20 kB a second", 200),
    ],
    ids=["50ms", "250ms", "narrow"],
)
def test_the_way_is_slow(
    rule: Rule, what: str, many: int, crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    with run(trials, f"F9 {what}", crew_through_proxies, SHORT) as trial:
        with trial.fault(what), network.following(rule):
            trial.handle_more(many)
        trial.handle_more(200)


def test_answers_to_commits_are_lost(crew_through_proxies: Crew, network: Proxied, trials: Trials) -> None:
    """What was committed is not known; the members stay, so nothing comes again."""
    often = {"KAFKA_AUTO_COMMIT_INTERVAL_MS": 500}
    with run(trials, "answers to commits lost", crew_through_proxies, SHORT, **often) as trial:
        with trial.fault("answers to commits lost"), lost(network, Api.OFFSET_COMMIT, 4):
            trial.handle_more(200)
        trial.handle_more(300)


def test_answers_to_heartbeats_are_lost(crew_through_proxies: Crew, network: Proxied, trials: Trials) -> None:
    """For longer than a session: the group hears its members, and they do not know it."""
    with run(trials, "answers to heartbeats lost", crew_through_proxies, LONG) as trial:
        with trial.fault("answers to heartbeats lost"), lost(network, Api.HEARTBEAT, 6):
            pass_time(SESSION_SECONDS + 2)
        trial.handle_more(300)


def test_a_member_leaves_before_it_hears_that_it_has_joined(
    crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """The answers to all joins of a rebalance are held until the one who began it is gone."""
    with run(trials, "answers to joins held", crew_through_proxies, LONG) as trial:
        with trial.fault("answers to joins held"), network.following(answers(Api.JOIN_GROUP, Fate.HOLD)):
            third = trial.hire("three", KAFKA_SHUTDOWN_TIMEOUT_SECONDS=10, KAFKA_DRAIN_TIMEOUT_SECONDS=5)
            until(lambda: network.held(Api.JOIN_GROUP) >= 1, 30, "an answer to a join to be held")
            third.wait_for("/health/kafka/live", 200, 30)
            trial.stop(third)
        trial.handle_more(300)


def test_answers_to_fetches_are_lost(crew_through_proxies: Crew, network: Proxied, trials: Trials) -> None:
    """Nobody waits for one that will not come: what is asked behind it is answered, and so tells."""
    with run(trials, "answers to fetches lost", crew_through_proxies, SHORT) as trial:
        with trial.fault("answers to fetches lost"), lost(network, Api.FETCH, 1):
            pass_time(3)
        trial.handle_more(300)


@pytest.mark.parametrize("fate", [Fate.DROP, Fate.RESET], ids=["dropped", "reset"])
def test_answers_to_what_is_published_are_lost(
    fate: Fate, crew_through_proxies: Crew, network: Proxied, trials: Trials
) -> None:
    """The brokers wrote it; idempotence keeps what is sent again from being there twice."""
    scenario = f"answers to publishing lost ({fate.name.lower()})"
    with run(trials, scenario, crew_through_proxies, SHORT, within=40) as trial:
        with trial.fault("answers to publishing lost"), lost(network, Api.PRODUCE, 3, fate):
            pass
        trial.send_more(300)


@contextmanager
def run(
    trials: Trials,
    scenario: str,
    crew: Crew,
    allowed: Allowed,
    *,
    workers: int = 2,
    within: float = IN_TIME,
    **more: Any,
) -> Iterator[Trial]:
    """A trial that also asks how soon bytes flow again: a turn after the heal may be of an old record.

    `within` so many seconds after each heal something was fetched, and something acknowledged.
    """
    with trials.run(scenario, crew, workers, allowed=allowed, **more) as trial:
        yield trial
    evidence = trials.evidence
    fetches = [note.at for note in evidence.notes if note.event == "fetched"]
    sends = [sent.ended for sent in evidence.produced if sent.outcome == OK]
    fetching, sending = (
        max(min(at - window.healed for at in times if at >= window.healed) for window in evidence.windows)
        for times in (fetches, sends)
    )
    trials.tell(f"fetched again after {fetching:.1f} s, acknowledged again after {sending:.1f} s")
    assert max(fetching, sending) <= within


@contextmanager
def lost(network: Proxied, api: Api, many: int, fate: Fate = Fate.DROP) -> Iterator[None]:
    """At least so many answers."""
    before = network.lost(api)
    with network.following(answers(api, fate)):
        yield
        until(lambda: network.lost(api) >= before + many, 40, f"{many} answers to be lost")
