"""Controls: a careless way to publish must be found out by the check that ours passes at the same moment."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

import pytest

from tests.faults import checks
from tests.faults.conftest import Report
from tests.faults.crew import Crew
from tests.faults.evidence import OK, Allowed, Evidence, Logged, Produced
from tests.faults.trial import RESULTS
from tests.support.independent import Independent
from tests.support.waiting import until
from tools.kafka.cluster import Broker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

ATTEMPTS = 3
CARELESS = range(1_000_000, 1_000_100)
"""Their ids lie far above those of a load."""


class Moment(NamedTuple):
    """What two publishers were told while the leader died ahead of its followers."""

    careless: list[Produced]
    ours: list[Produced]


def test_what_only_the_leader_has_is_lost_with_it_and_was_never_acknowledged_by_ours(
    crew_on_three: Crew, report: Report
) -> None:
    """One publisher is content with `acks=1`; the other is ours, at work on the same log all the time."""
    crew = crew_on_three
    topic = crew.topic("work")
    for attempt in range(1, ATTEMPTS + 1):
        moment = leader_dies_ahead_of_its_followers(crew, topic)
        log = read_log(crew, topic)
        lost = lost_writes(moment.careless, log)
        ours = lost_writes(moment.ours, log)
        report(
            f"attempt {attempt}: of {len(moment.careless)} messages that acks=1 acknowledged {len(lost)} are "
            f"lost, of {sum(sent.outcome == OK for sent in moment.ours)} that ours acknowledged {len(ours)}"
        )
        assert ours == []
        if lost:
            keep(moment, len(lost))
            return
    pytest.fail(f"acks=1 lost nothing in {ATTEMPTS} attempts: the check would not have noticed a loss either")


def keep(moment: Moment, lost: int) -> None:
    """For the page about reliability."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    acknowledged = sum(sent.outcome == OK for sent in moment.ours)
    control = {"control": "acks=1", "acknowledged": len(moment.careless), "lost": lost, "check": "lost-write"}
    ours = {"control": "this package", "acknowledged": acknowledged, "lost": 0, "check": ""}
    (RESULTS / "controls.json").write_text(json.dumps([control, ours]) + "\n")


def leader_dies_ahead_of_its_followers(crew: Crew, topic: str) -> Moment:
    """The followers stand still, not long enough to be missed, while the leader goes on and then dies."""
    crew.cluster.wait_full_isr()
    leader = crew.cluster.leader(topic)
    followers = [broker for broker in crew.cluster.brokers if broker is not leader]
    with crew.load(100) as load:
        until(lambda: len(load.acknowledged) >= 100, 30, "publishing to go well")
        for follower in followers:
            follower.pause()
        # each may still be sent one answer: to what it asked before
        write_carelessly(leader, topic, range(CARELESS.start - 1, CARELESS.start))
        careless = write_carelessly(leader, topic, CARELESS)
        leader.kill()
        for follower in followers:
            follower.resume()
        before = len(load.acknowledged)
        until(lambda: len(load.acknowledged) >= before + 100, 60, "publishing to go on")
    crew.cluster.heal()
    return Moment(careless, load.produced)


def write_carelessly(leader: Broker, topic: str, ids: range) -> list[Produced]:
    """To the first partition, content with its leader's word."""
    began = time.monotonic()
    bodies = [json.dumps({"Id": id}) for id in ids]
    landed = Independent(leader.address).write(topic, bodies, partition=0, settings={"acks": 1})
    ended = time.monotonic()
    return [
        Produced(id, "", began, ended, OK, partition, offset)
        for id, (partition, offset) in zip(ids, landed, strict=True)
    ]


def read_log(crew: Crew, topic: str) -> list[Logged]:
    return [
        Logged(topic, seen.partition, seen.offset, json.loads(seen.value or b"{}")["Id"], None)
        for seen in crew.witness.read(topic)
    ]


def lost_writes(produced: list[Produced], log: list[Logged]) -> list[str]:
    return checks.lost_write(Evidence(produced, log, buried=[], notes=[]), Allowed())
