"""Others beside ours, each alone through the same faults: FastStream, fastkafka2, the loop that teams write.

Ours must hold. What the others do is written down with the figures, and judged in one place only:
the loop that leaves its commits to a timer is a control, which has to be found out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.crew import APP, Crew, kill_brokers
from tests.faults.evidence import Allowed, Window
from tests.faults.trial import Trial, Trials
from tests.support.ledgers import FOR_EVER, Turn
from tests.support.services import Service
from tests.support.waiting import pass_time, until
from tools.kafka.cluster import Cluster

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

A_SECOND = 60
"""What two workers can do a second that take one message after another."""
KEYS = 40
POISONED = "key-7"
BOUND = 200
STUCK_SECONDS, TOO_LONG_SECONDS = 8, 6
"""How long a handler hangs, and when it is plain that it does: an engine's timer has committed by then."""
OUTAGE_SECONDS = 18
PACE: Mapping[str, Any] = {
    "KAFKA_MAX_UNCOMMITTED": BOUND,
    "KAFKA_MAX_RETRY_ATTEMPTS": 2,
    "KAFKA_RETRY_DELAY_SECONDS": 0.1,
    "FAULTS_SLOWEST_SECONDS": 0.02,
}
SLOW: Mapping[str, Any] = {"FAULTS_SLOWEST_SECONDS": 0.1}
"""Who takes one message after another is nearly always amid one."""
LIGHT = 20
"""What two workers can do a second that are slow and take one message after another."""
ALLOWED = Allowed(repeats=BOUND, drained=20)


class Contestant(NamedTuple):
    """An app, and what is chosen for it."""

    name: str
    app: str
    settings: Mapping[str, Any] = {}

    @property
    def is_ours(self) -> bool:
        return self.app == APP


FASTKAFKA2 = "tests.faults.outside.fastkafka2_app:app"
FASTSTREAM = "tests.faults.outside.faststream_app:app"
OURS = Contestant("ours", APP)
LOOP = Contestant("aiokafka, a plain loop", "tests.faults.outside.loop_app:app")
DEFAULT = Contestant("FastStream", FASTSTREAM)
ACK = Contestant("FastStream, ACK", FASTSTREAM, {"FAULTS_ACK_POLICY": "ACK"})
NACK = Contestant("FastStream, NACK_ON_ERROR", FASTSTREAM, {"FAULTS_ACK_POLICY": "NACK_ON_ERROR"})
PAUSES = Contestant("fastkafka2", FASTKAFKA2)
BURIES = Contestant("fastkafka2, dlt", FASTKAFKA2, {"FAULTS_ON_ERROR": "dlt"})
BARE = Contestant("aiokafka, its own example", LOOP.app, {"FAULTS_CATCHES": "no"})
ALL = (OURS, LOOP, DEFAULT, ACK, PAUSES)

among = pytest.mark.parametrize("contestant", ALL, ids=lambda one: one.name)


@pytest.fixture
def crew(kafka: Cluster, unique: str, tmp_path: Path, contestant: Contestant) -> Iterator[Crew]:
    """On one broker."""
    with ExitStack() as ends:
        yield Crew(kafka, unique, tmp_path, ends, contestant.app)


@among
def test_a_worker_is_killed_while_a_handler_hangs(contestant: Contestant, crew: Crew, trials: Trials) -> None:
    """It is the handler of the first message of all, whose id is 0."""
    hangs: dict[str, Any] = {"FAULTS_STUCK_EVERY": 10**6, "FAULTS_STUCK_SECONDS": STUCK_SECONDS}
    with running("kill -9 of a worker whose handler hangs", contestant, crew, trials, **hangs) as trial:
        member = one_that_hangs(trial)
        with fault(trial, "kill -9"):
            trial.kill(member)
            trial.send_more(A_SECOND)
            member.start().wait_ready()
        trial.send_more(2 * A_SECOND)
    if contestant is LOOP:
        assert {"commit-safety", "unhandled"} <= set(trials.found), "the control was not found out"


@among
def test_workers_are_restarted_one_after_another(contestant: Contestant, crew: Crew, trials: Trials) -> None:
    with running(
        "rolling restart of two workers, twice", contestant, crew, trials, a_second=LIGHT, **SLOW
    ) as trial:
        for member in (*trial.workers.values(), *trial.workers.values()):
            with fault(trial, "a restart"):
                trial.stop(member)
                member.start().wait_ready()
            trial.send_more(2 * LIGHT)


@among
def test_the_cluster_is_down(contestant: Contestant, crew: Crew, trials: Trials) -> None:
    allowed = replace(ALLOWED, recovery=10, down_within=15)
    with running("the whole cluster down", contestant, crew, trials, allowed, **SLOW) as trial:
        trial.send_more(3 * A_SECOND)
        with fault(trial, "every broker killed"):
            died_at = kill_brokers(crew.cluster)
            pass_time(OUTAGE_SECONDS, since=died_at)
            crew.cluster.heal()
        trial.send_more(3 * A_SECOND)


@pytest.mark.parametrize("contestant", [*ALL, NACK, BURIES, BARE], ids=lambda one: one.name)
def test_a_key_is_poisoned(contestant: Contestant, crew: Crew, trials: Trials, tmp_path: Path) -> None:
    never = tmp_path / "cure"
    poison: dict[str, Any] = {"FAULTS_POISONED": POISONED, "FAULTS_CURE": never}
    with (
        running("a key whose handler always raises", contestant, crew, trials, **poison) as trial,
        fault(trial, "a poisoned key"),
    ):
        trial.send_more(6 * A_SECOND)


@contextmanager
def running(
    scenario: str,
    contestant: Contestant,
    crew: Crew,
    trials: Trials,
    allowed: Allowed = ALLOWED,
    a_second: int = A_SECOND,
    **settings: Any,
) -> Iterator[Trial]:
    """A trial of a contestant under a load that all of them can bear."""
    with trials.run(
        scenario,
        crew,
        allowed=allowed,
        a_second=a_second,
        keys=KEYS,
        contestant=contestant.name,
        must_hold=contestant.is_ours,
        **{**PACE, **contestant.settings, **settings},
    ) as trial:
        yield trial


@contextmanager
def fault(trial: Trial, name: str) -> Iterator[None]:
    """As `Trial.fault`, for workers that may never come back: it does not wait for them."""
    began = time.monotonic()
    yield
    trial.windows.append(Window(name, began, time.monotonic()))


def one_that_hangs(trial: Trial) -> Service:
    """Wait for a worker that has been at one message for too long."""

    def hanging() -> Turn | None:
        now = time.monotonic()
        return next((turn for turn in trial.crew.history().turns if hangs(turn, now)), None)

    until(hanging, 60, "a handler that hangs")
    turn = hanging()
    assert turn is not None
    return trial.workers[turn.member.split(":")[0]]


def hangs(turn: Turn, now: float) -> bool:
    return turn.end == FOR_EVER and now - turn.start > TOO_LONG_SECONDS
