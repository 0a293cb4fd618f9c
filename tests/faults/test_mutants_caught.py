"""Sixteen mutants of this package at work on a real Kafka: each is caught by the check that is named for it.

Eight kinds of runs are enough for all of them. Each kind must pass without a mutant.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from tests.faults.conftest import NewCrew, teller
from tests.faults.crew import Crew
from tests.faults.evidence import FAILED, Allowed
from tests.faults.gathering import DEAD_LETTERS
from tests.faults.mutants import MUTANTS, SILENT_SECONDS, VARIABLE
from tests.faults.test_outages import POISON, RECOVERY_SECONDS, Outage, break_off, swallow_a_letter
from tests.faults.test_rights import TWO_TOPICS, crew_with_rights, withdrawn
from tests.faults.trial import RESULTS, Trial, Trials
from tests.support.batches import sendable
from tests.support.guarded import Guarded
from tests.support.proxied import Proxied
from tests.support.waiting import pass_time, until
from tools.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

ATTEMPTS = 4
A_SECOND, KEYS = 100, 100
POISONED = "key-7"
BAD_NAME = b"\xff\xfe-name"
"""Of a header: the engine raises in the midst of what it fetched."""
BAD_IDS = range(1_000_000, 1_000_004)
"""Far above those of a load, and no key of theirs is a load's."""
NOTHING, AS_USUAL = 1, 1_048_588
"""The largest batch in bytes that a topic takes: none at all, and what brokers set by default."""
SILENCE_SECONDS = SILENT_SECONDS + 3
BACK_SECONDS = 10.0
MAX_UNCOMMITTED = 1000

OFTEN: Mapping[str, Any] = {"KAFKA_AUTO_COMMIT_INTERVAL_MS": 300, "KAFKA_MAX_UNCOMMITTED": MAX_UNCOMMITTED}


def new(request: pytest.FixtureRequest, place: str) -> Crew:
    """A crew with names and topics that nobody has used."""
    new_crew: NewCrew = request.getfixturevalue("new_crew")
    where = request.getfixturevalue(place)
    match where:
        case Guarded():
            return crew_with_rights(where, new_crew)
        case Proxied():
            return new_crew(where.cluster, network=where)
    return new_crew(where)


@dataclass(frozen=True)
class Kind:
    """One kind of run: what happens in it, and what that may do to a healthy crew."""

    scenario: str
    happen: Callable[[Trial], None]
    allowed: Allowed
    workers: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Crew], None] = lambda crew: None
    crew: Callable[[pytest.FixtureRequest], Crew] = lambda request: new(request, "kafka")


def letters_of(crew: Crew) -> str:
    return f"{crew.name}.{DEAD_LETTERS}"


def let_take_no_letters(crew: Crew) -> None:
    crew.cluster.create_topic(letters_of(crew), 1, config={"max.message.bytes": str(NOTHING)})


def let_take(cluster: Cluster, topic: str, most: int) -> None:
    """From now on, batches of so many bytes."""
    entry = ConfigEntry("max.message.bytes", str(most), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = cluster.admin()  # which must outlive its question
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(20)


def another_joins(trial: Trial) -> None:
    with trial.fault("another worker joins"):
        trial.hire("two", **OFTEN, **HANGS).wait_ready()
        trial.wait_at_work("one", "two")
    trial.send_more(A_SECOND)


def topics_refuse(trial: Trial) -> None:
    """Letters from the beginning; the topic of the work for a moment."""
    load, cluster = trial.load, trial.crew.cluster
    assert load is not None
    with trial.fault("topics that take nothing"):
        until(lambda: trial.crew.ledger.count("error") > 0, 30, "a message to fail")
        trial.handle_more(A_SECOND)
        known = len(load.produced)
        let_take(cluster, trial.topic, NOTHING)
        until(
            lambda: any(sent.outcome == FAILED or sent.offset < 0 for sent in load.produced[known:]),
            30,
            "a refusal",
        )
        let_take(cluster, trial.topic, AS_USUAL)
        let_take(cluster, letters_of(trial.crew), AS_USUAL)
    trial.send_more(A_SECOND)


def a_worker_freezes(trial: Trial) -> None:
    """For longer than its session: what it did not commit in time is no business of its own any more."""
    frozen = trial.workers["one"]
    trial.wait_at_work("one", "two")
    with trial.fault("a worker frozen for longer than its session"):
        frozen.pause()
        theirs = partitions_of(trial, "one")
        until(lambda: partitions_of(trial, "two") >= theirs, 30, "the other to take over")
        trial.handle_more(2 * A_SECOND)
        frozen.resume()
        trial.wait_at_work("one", "two")
    trial.send_more(A_SECOND)


def a_batch_is_unreadable(trial: Trial) -> None:
    """In one partition; the worker stands still meanwhile, so that it then finds something in all at once."""
    worker = trial.workers["one"]
    with trial.fault("a batch that the engine cannot read"):
        worker.pause()
        for id in BAD_IDS:
            trial.send_more(A_SECOND // 4)
            asyncio.run(write_unreadable(trial, id))
        trial.send_more(A_SECOND // 4)
        worker.resume()
    trial.send_more(A_SECOND)


def the_broker_freezes(trial: Trial) -> None:
    if not trial.crew.cluster.brokers:
        pytest.skip("the broker of a cluster that was named may not be frozen")
    (broker,) = trial.crew.cluster.brokers
    with trial.fault("the broker frozen"):
        broker.pause()
        frozen_at = time.monotonic()
        pass_time(SILENCE_SECONDS, since=frozen_at)
        broker.resume()
    trial.send_more(A_SECOND)


def a_right_is_withdrawn(trial: Trial) -> None:
    """From an idle topic, with work of it that was not committed, until the other could have run dry."""
    other = trial.add_topic("other")
    with trial.fault("READ withdrawn from one topic"), withdrawn(trial, other):
        trial.send_more(14 * A_SECOND)
    pass_time(BACK_SECONDS + 1)


def a_letter_is_swallowed(trial: Trial) -> None:
    swallow_a_letter(trial)
    pass_time(BACK_SECONDS + 1)


def an_outage_outlasts_a_session(trial: Trial) -> None:
    break_off(Outage(9, 6, 1), trial.crew.cluster, [trial])
    trial.send_more(A_SECOND)


HANGS: Mapping[str, Any] = {
    "KAFKA_CONCURRENCY": 64,
    "KAFKA_REVOKE_DRAIN_SECONDS": 1,
    "KAFKA_DRAIN_TIMEOUT_SECONDS": 5,
    "FAULTS_STUCK_EVERY": 13,
    "FAULTS_STUCK_SECONDS": 3,
}
JOINED = Kind(
    "a worker joins while handlers outlast the drain",
    another_joins,
    Allowed(recovery=10, drained=6),
    settings=HANGS,
)
REFUSED = Kind(
    "topics refuse what is written, letters too",
    topics_refuse,
    Allowed(recovery=10, drained=6),
    settings={
        "KAFKA_MAX_RETRY_ATTEMPTS": 1,
        "FAULTS_POISONED": POISONED,
        "FAULTS_CURE": "never",
    },
    prepare=let_take_no_letters,
)
FROZEN = Kind(
    "a worker frozen for longer than its session",
    a_worker_freezes,
    Allowed(repeats=MAX_UNCOMMITTED, zombies=("one",), drained=6),
    workers=2,
)
UNREADABLE = Kind("a batch that the engine cannot read", a_batch_is_unreadable, Allowed(drained=6))
SILENT = Kind(
    "the only broker frozen for 7 s", the_broker_freezes, Allowed(repeats=MAX_UNCOMMITTED, drained=6)
)
WITHDRAWN = Kind(
    "READ withdrawn from one of two topics",
    a_right_is_withdrawn,
    Allowed(repeats=5, stall=3, back_within=BACK_SECONDS, drained=6),
    settings={
        **TWO_TOPICS,
        "KAFKA_AUTO_COMMIT_INTERVAL_MS": 5000,
        "KAFKA_MAX_UNCOMMITTED": 2 * A_SECOND,
    },
    crew=lambda request: new(request, "guarded"),
)
SWALLOWED = Kind(
    "a letter that is swallowed, and the question what became of it",
    a_letter_is_swallowed,
    # Asked again every 4 s it is answered within 5 s; asked once, some 10 s later, when something else fails.
    Allowed(repeats=MAX_UNCOMMITTED, back_within=7),
    settings=POISON,
    crew=lambda request: new(request, "network"),
)
OUTLASTED = Kind(
    "an outage of 9 s with a session of 6 s",
    an_outage_outlasts_a_session,
    Allowed(repeats=MAX_UNCOMMITTED, recovery=RECOVERY_SECONDS),
)
WITHOUT_A_MUTANT = [
    *(pytest.param(kind, marks=pytest.mark.faults) for kind in (JOINED, REFUSED, FROZEN, UNREADABLE, SILENT)),
    # These three happen to a healthy crew in test_rights and test_outages too.
    *(pytest.param(kind, marks=pytest.mark.long) for kind in (WITHDRAWN, SWALLOWED, OUTLASTED)),
]

CAUGHT: Mapping[str, tuple[Kind, str]] = {
    "commit_the_highest_finished_offset": (JOINED, "commit-safety"),
    "commit_positions_on_a_timer": (JOINED, "commit-safety"),
    "do_not_await_a_burial": (REFUSED, "commit-safety"),
    "acknowledge_in_finally": (JOINED, "unhandled"),
    "do_not_drain_what_is_revoked": (JOINED, "overlap"),
    "commit_again_under_the_next_assignment": (FROZEN, "commit-regress"),
    "handle_a_key_side_by_side": (JOINED, "overlap"),
    "use_the_ledger_of_an_earlier_assignment": (JOINED, "unhandled"),
    "drop_what_was_taken_beside_a_failure": (UNREADABLE, "skip"),
    "tell_what_is_handed_out_as_finished": (JOINED, "unhandled"),
    "tie_liveness_to_the_broker": (SILENT, "health-truth"),
    "take_a_refusal_for_an_acknowledgement": (REFUSED, "lost-write"),
    "share_the_outcome_of_a_commit": (WITHDRAWN, "stall"),
    "never_forget_a_complaint": (WITHDRAWN, "health-truth"),
    "ask_once_for_an_answer_that_is_owed": (SWALLOWED, "health-truth"),
    "join_as_another_without_leaving": (OUTLASTED, "recovery"),
}

Caught = list[dict[str, Any]]
Crews = Callable[[Kind], Crew]


@pytest.fixture
def crews(request: pytest.FixtureRequest) -> Crews:
    """A crew for each attempt."""
    return lambda kind: kind.crew(request)


@pytest.fixture(scope="module")
def caught(request: pytest.FixtureRequest) -> Iterator[Caught]:
    """What became of each mutant; at the end it is written down, and told in one line."""
    found: Caught = []
    yield found
    if not found:
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "mutants.json"
    before = json.loads(path.read_text()) if path.exists() else []
    known = {one["mutant"]: one for one in (*before, *found)}
    path.write_text(json.dumps([known[name] for name in MUTANTS if name in known], indent=1) + "\n")
    tell = teller(request.config)
    tell(f"mutants caught {sum(one['caught'] for one in found)}/{len(found)}")


@pytest.mark.parametrize("kind", WITHOUT_A_MUTANT, ids=lambda kind: kind.scenario)
def test_without_a_mutant_every_check_passes(kind: Kind, crews: Crews, trials: Trials) -> None:
    run(kind, crews(kind), trials, must_hold=True)


@pytest.mark.faults
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_caught_by_its_check(
    mutant: str, crews: Crews, trials: Trials, caught: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the workers, and in whoever publishes: each mutant is at home in one of the two."""
    kind, check = CAUGHT[mutant]
    monkeypatch.setenv(VARIABLE, mutant)
    MUTANTS[mutant](monkeypatch)
    became: dict[str, Any] = {"mutant": mutant, "check": check, "attempts": 0, "caught": False}
    caught.append(became)
    while not became["caught"] and became["attempts"] < ATTEMPTS:
        became["attempts"] += 1
        began = time.monotonic()
        violations = run(kind, crews(kind), apart(trials), must_hold=False)
        became |= {"caught": check in violations, "seconds": round(time.monotonic() - began, 1)}
    assert became["caught"], f"{check} did not notice {mutant}, others noticed {violations}"


@pytest.mark.faults
def test_every_mutant_has_its_check() -> None:
    assert set(CAUGHT) == set(MUTANTS)
    assert len(MUTANTS) == 16


def run(kind: Kind, crew: Crew, trials: Trials, *, must_hold: bool) -> Mapping[str, Sequence[str]]:
    """The violations of every check that found any."""
    kind.prepare(crew)
    with trials.run(
        kind.scenario,
        crew,
        kind.workers,
        allowed=kind.allowed,
        a_second=A_SECOND,
        keys=KEYS,
        must_hold=must_hold,
        **{**OFTEN, **kind.settings},
    ) as trial:
        kind.happen(trial)
    return trials.found


def apart(trials: Trials) -> Trials:
    """Figures of mutants are no figures of this package."""
    return Trials(trials.tell, trials.seed, RESULTS / "mutants")


def partitions_of(trial: Trial, name: str) -> set[int]:
    """In which partitions a worker has begun something."""
    notes = trial.crew.ledger.notes()
    return {n.partition for n in notes if n.event == "start" and n.member.startswith(f"{name}:")}


async def write_unreadable(trial: Trial, id: int) -> None:
    """A good message under a header that the engine cannot read."""
    producer = AIOKafkaProducer(bootstrap_servers=trial.crew.cluster.bootstrap)
    await producer.start()
    try:
        value = json.dumps({"Id": id, "Memo": ""}).encode()
        bad = sendable(f"bad-{id}".encode(), value, [(BAD_NAME, b"x")])
        await (await producer.send_batch(bad, trial.topic, partition=0))
    finally:
        await producer.stop()
