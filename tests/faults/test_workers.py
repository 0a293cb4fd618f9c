"""Workers that die, stop, freeze, come and go, hang, crash and block: F14 to F17, F25 to F27 and F32."""

from __future__ import annotations

import json
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults import accidents, failpoints
from tests.faults.checks import longest_stall
from tests.faults.crew import Crew
from tests.faults.evidence import Allowed
from tests.faults.trial import NAME, Trial, Trials, life
from tests.support.ledgers import Note
from tests.support.probing import READY
from tests.support.services import Service
from tests.support.waiting import pass_time, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

SESSION_SECONDS = 6
RECOVERY_SECONDS = SESSION_SECONDS + 2 + 2
"""A session, two heartbeats, and two seconds."""
BOUND = 50
BOUNDED: dict[str, Any] = {"KAFKA_MAX_UNCOMMITTED": BOUND}
"""Settings under which a kill may lead to so many repeats of a partition."""
STATIC: dict[str, Any] = {"KAFKA_GROUP_INSTANCE_ID": NAME}
"""Settings of members that keep their place in the group while they are away."""
KILLED = Allowed(repeats=BOUND, recovery=RECOVERY_SECONDS)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Is there once the accident of a test has happened."""
    return tmp_path / "mark"


def test_workers_are_killed_again_and_again(crew: Crew, trials: Trials) -> None:
    """The others take over once the session of the dead is over, whether or not it is back by then."""
    with trials.run("F14 kill -9 of workers", crew, workers=3, allowed=KILLED, **BOUNDED) as trial:
        for _ in range(3):
            worker = trial.workers[trial.chance.choice(["one", "two", "three"])]
            with trial.fault(f"kill -9 of worker {worker.name}"):
                trial.kill(worker)
                worker.start()
                trial.wait_at_work(worker.name, within=30)
            trial.handle_more(trial.chance.randint(1, 300))


def test_a_static_member_that_is_killed_and_back_at_once_stops_nobody(crew: Crew, trials: Trials) -> None:
    with trials.run(
        "F14 kill -9 of static members", crew, workers=3, allowed=KILLED, **STATIC, **BOUNDED
    ) as trial:
        wait_steady(trial)
        for worker in trial.chance.sample(list(trial.workers.values()), 3):
            others = [one for one in trial.workers.values() if one is not worker]
            began, before = time.monotonic(), [assignments(trial, other) for other in others]
            with trial.fault(f"kill -9 of static worker {worker.name}"):
                trial.kill(worker)
                worker.start()
                trial.wait_at_work(worker.name)
            for other in others:
                assert longest_gap(trial, other, began) < 1.5, f"{other.name} stood still"
            assert [assignments(trial, other) for other in others] == before, "nobody was assigned anew"


def test_workers_are_stopped_under_load(crew: Crew, trials: Trials) -> None:
    allowed = Allowed(repeats=0, recovery=3, stop_seconds=5)
    with trials.run("F15 SIGTERM of workers", crew, workers=2, allowed=allowed) as trial:
        for _ in range(3):
            worker = trial.workers[trial.chance.choice(["one", "two"])]
            told = time.monotonic()
            with trial.fault(f"SIGTERM of worker {worker.name}"):
                trial.stop(worker)
            ended = time.monotonic()
            trial.handle_more(100)
            assert 200 not in said_ready(trial, worker, told + 0.5, ended), "ready was 200 in a drain"
            worker.start().wait_ready()
            trial.wait_at_work(worker.name)


def test_a_worker_is_frozen_for_less_than_its_session(crew: Crew, trials: Trials) -> None:
    """Nothing moves, and the one that thaws goes on where it was."""
    with trials.run("F16 SIGSTOP of a worker for 3 s", crew, workers=2) as trial:
        wait_steady(trial)
        before = [assignments(trial, worker) for worker in trial.workers.values()]
        with trial.fault("a worker frozen for 3 s"):
            trial.freeze(trial.workers["one"], 3)
        trial.zombies.clear()
        trial.wait_at_work("one", "two")
        assert [assignments(trial, worker) for worker in trial.workers.values()] == before


def test_a_worker_is_frozen_for_longer_than_its_session(crew: Crew, trials: Trials) -> None:
    """It may overlap with its successors, for nobody can tell it; but it moves no commit back."""
    with trials.run("F16 SIGSTOP of a worker for 9 s", crew, workers=2, allowed=KILLED, **BOUNDED) as trial:
        trial.wait_at_work("one", "two")
        with trial.fault("a worker frozen for 9 s"):
            trial.freeze(trial.workers["one"], 1.5 * SESSION_SECONDS)
        trial.wait_at_work("one", "two")
        trial.look_at_commits()
        trial.handle_more(200)


def test_workers_come_and_go(crew: Crew, trials: Trials) -> None:
    """Two to five of them, in no order; every stop is drained, so nothing is handled twice."""
    with trials.run("F17 a storm of rebalances", crew, workers=2, allowed=Allowed(recovery=5)) as trial:
        with trial.fault("a storm of rebalances"):
            ends_at = time.monotonic() + 15
            while time.monotonic() < ends_at:
                come_or_go(trial)
                pass_time(trial.chance.uniform(0.5, 2))
        trial.handle_more(200)
    assert longest_stall(trials.evidence) < 10


def come_or_go(trial: Trial) -> None:
    at_work = [worker for worker in trial.workers.values() if worker.alive]
    asleep = [worker for worker in trial.workers.values() if not worker.alive]
    if len(at_work) > 2 and (len(at_work) == 5 or trial.chance.random() < 0.5):
        trial.stop(trial.chance.choice(at_work))
    elif asleep:
        trial.chance.choice(asleep).start()
    else:
        trial.hire(("three", "four", "five")[len(at_work) - 2])


@pytest.mark.parametrize("settings", [{}, {"FAULTS_IN_A_THREAD": "1"}], ids=["async", "in a thread"])
def test_a_handler_hangs(crew: Crew, trials: Trials, mark: Path, settings: dict[str, Any]) -> None:
    """Other keys go on, also in its partition, and whoever asks is told where it hangs.

    A stop does not wait for it for ever. It is not done, so whoever is next does it, and it alone.
    """
    hang: dict[str, Any] = settings | {
        accidents.HANG: "300",
        accidents.CRASH_MARK: mark,
        "KAFKA_DRAIN_TIMEOUT_SECONDS": "2",
        "KAFKA_SHUTDOWN_TIMEOUT_SECONDS": "6",
    }
    allowed = Allowed(repeats=0, recovery=5, stop_seconds=7)
    where = "in a thread" if settings else "async"
    with trials.run(f"F25 a handler hangs ({where})", crew, workers=2, allowed=allowed, **hang) as trial:
        until(mark.exists, 30, "the handler to hang")
        stuck = started(trial, 300)
        member = trial.workers[stuck.member.split(":")[0]]
        with trial.fault("a handler that hangs"):
            trial.handle_more(600)
            everybody = keys_in(trial, stuck.partition, "start")
            assert keys_in(trial, stuck.partition, "ok", since=stuck.at) == everybody - {stuck.key}
            assert told_of_oldest(member) == stuck.place
            trial.zombies.append(life(member))
            trial.stop(member)
            crew.mourn(member)
        member.start().wait_ready()
        trial.handle_more(200)


SURVIVED = {accidents.recursion.__name__, accidents.system_exit.__name__}
"""Failures like any other: the record is tried again, and nobody dies of it."""


@pytest.mark.parametrize("crash", list(accidents.CRASHES))
def test_a_handler_crashes(crew: Crew, trials: Trials, mark: Path, crash: str) -> None:
    """Once; whatever kind of end it is, the rest is done, and it is tried again."""
    allowed = Allowed() if crash in SURVIVED else KILLED
    settings: dict[str, Any] = {
        accidents.CRASH: "300",
        accidents.CRASH_BY: crash,
        accidents.CRASH_MARK: mark,
        "KAFKA_RETRY_DELAY_SECONDS": "0.1",
        **BOUNDED,
    }
    with trials.run(
        f"F26 a handler ends in {crash}", crew, workers=2, allowed=allowed, **STATIC, **settings
    ) as trial:
        until(mark.exists, 30, "the crash")
        with trial.fault(crash):
            if crash not in SURVIVED:
                trial.wait_death().start().wait_ready()
        trial.handle_more(200)
        assert all(worker.alive for worker in trial.workers.values())
    assert [note.id for note in crew.ledger.notes() if note.event == "start"].count(300) >= 2


def test_a_handler_blocks_the_event_loop(crew: Crew, trials: Trials, mark: Path) -> None:
    """For two sessions: nothing answers meanwhile, neither heartbeats nor probes."""
    seconds = 2 * SESSION_SECONDS
    block: dict[str, Any] = {
        accidents.BLOCK: "300",
        accidents.BLOCK_SECONDS: str(seconds),
        accidents.CRASH_MARK: mark,
        **BOUNDED,
    }
    with trials.run("F27 a handler blocks the loop", crew, workers=2, allowed=KILLED, **block) as trial:
        until(mark.exists, 30, "the loop to be blocked")
        trial.zombies.append(started(trial, 300).member)
        with trial.fault(f"a loop that is blocked for {seconds} s"):
            pass_time(seconds)
        trial.wait_at_work("one", "two")
        trial.look_at_commits()
        trial.handle_more(200)


@pytest.mark.parametrize("point", failpoints.POINTS)
def test_a_worker_dies_at_the_worst_moment(crew: Crew, trials: Trials, mark: Path, point: str) -> None:
    common = WHAT_LEADS_TO.get(point, {}) | {"KAFKA_AUTO_COMMIT_INTERVAL_MS": 500} | BOUNDED
    passes = 0 if point == failpoints.DRAINING else 3
    armed = {failpoints.POINT: point, failpoints.AFTER: passes, accidents.CRASH_MARK: mark}
    passed_on = crew.topic(PASSED_ON)
    with trials.run(
        f"F32 kill -9 when {point}", crew, workers=1, allowed=KILLED, **STATIC, **common
    ) as trial:
        with trial.fault(f"kill -9 when {point}"):
            worker = trial.hire("two", **STATIC, **common, **armed)
            if point == failpoints.DRAINING:
                trial.wait_at_work("two")
                worker.terminate()
            assert trial.wait_death().wait(1) == -signal.SIGKILL
            worker.start().wait_ready()
        trial.handle_more(200)
    if point == failpoints.PASSED_ON:
        there = {json.loads(seen.value or b"")["Id"] for seen in crew.witness.read(passed_on)}
        assert there == {record.id for record in trials.evidence.log}


PASSED_ON = "passed.on"
WHAT_LEADS_TO: dict[str, dict[str, Any]] = {
    failpoints.BURIED: {"FAULTS_POISONED": "key-7", "FAULTS_CURE": "never", "KAFKA_MAX_RETRY_ATTEMPTS": 1},
    failpoints.PASSED_ON: {"FAULTS_PASSES_ON": PASSED_ON},
}


def wait_steady(trial: Trial) -> None:
    """Wait until all are at work, and none of them with what it held before the last came."""
    for _ in range(2):
        trial.wait_at_work(*trial.workers)


def assignments(trial: Trial, worker: Service) -> set[int]:
    """How many there were: the epochs of what it has fetched."""
    notes = trial.crew.ledger.notes()
    return {note.epoch for note in notes if note.event == "fetched" and note.member == life(worker)}


def longest_gap(trial: Trial, worker: Service, since: float) -> float:
    """The most seconds in which it handled nothing to the end."""
    notes = trial.crew.ledger.notes()
    ends = [note.at for note in notes if note.event == "ok" and note.member == life(worker)]
    return max(later - sooner for sooner, later in pairwise([since, *(at for at in ends if at > since)]))


def said_ready(trial: Trial, worker: Service, since: float, until: float) -> set[int | None]:
    return {
        answer.status for answer in trial.probers[worker.name].answers(READY) if since < answer.at < until
    }


def started(trial: Trial, id: int) -> Note:
    """The first turn of this message."""
    return next(note for note in trial.crew.ledger.notes() if note.event == "start" and note.id == id)


def keys_in(trial: Trial, partition: int, event: str, since: float = 0) -> set[str | None]:
    """Whose records of this partition came to `event` since then."""
    notes = trial.crew.ledger.notes()
    return {n.key for n in notes if n.partition == partition and n.event == event and n.at > since}


def told_of_oldest(worker: Service) -> tuple[str, int, int]:
    """Where `/health/kafka` says that the oldest record is which is not finished."""
    (consumer,) = worker.get("/health/kafka")["consumers"]
    oldest = consumer["oldest_unfinished"]
    return oldest["topic"], oldest["partition"], oldest["offset"]
