"""Topics that change under those who read them, and messages that nobody can read: F20 to F24."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import NewPartitions

from convex_messaging_fastapi import DeadLetterMessage
from tests.faults.crew import CANARY, PARTITIONS, Crew
from tests.faults.evidence import Allowed, Evidence, Lost
from tests.faults.gathering import DEAD_LETTERS, read_log, read_topic
from tests.faults.trial import A_SECOND, Trial, Trials
from tests.support.services import Service
from tests.support.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

METADATA_SECONDS = 3
SOON: Mapping[str, Any] = {"FAULTS_METADATA_MS": METADATA_SECONDS * 1000}
"""Instead of the half minute after which engines look again at what topics there are."""


def test_a_topic_is_deleted_and_made_anew(crew: Crew, trials: Trials) -> None:
    """The new log is read from its beginning, also below the offsets that the old one had come to."""
    allowed = Allowed(recovery=2 * METADATA_SECONDS)
    with trials.run("F20 a topic made anew", crew, allowed=allowed, **SOON) as trial:
        trial.handle_more(300)
        with trial.fault("a topic made anew"):
            make_anew(trial)
        trial.handle_more(300)
        told = [loss for worker in trial.workers.values() for loss in told_losses(worker)]
        assert {loss["partition"] for loss in told} == set(range(PARTITIONS))
        assert all("made anew" in loss["reason"] for loss in told)
    handled = trials.evidence.history().handled()
    assert {(place.partition, place.offset) for place in handled} >= {(p, 0) for p in range(PARTITIONS)}


@pytest.mark.parametrize(("workers", "stall"), [(1, 1.0), (2, 3.0)], ids=["one worker", "two workers"])
def test_a_topic_is_deleted_with_uncommitted_work(
    workers: int, stall: float, crew: Crew, trials: Trials
) -> None:
    """The others stand still for a moment at most, and a stop just after a deletion does not wait for it."""
    three_topics: dict[str, Any] = {"FAULTS_TOPICS": "work,other,third", "FAULTS_SLOWEST_SECONDS": 0.01}
    allowed = Allowed(recovery=stall, stop_seconds=3)
    for name in ("other", "third"):
        crew.topic(name)
    scenario = f"F36 a topic deleted, workers: {workers}"
    with trials.run(scenario, crew, workers, allowed=allowed, **three_topics) as trial:
        trial.wait_at_work(*trial.workers)
        other, third = trial.add_topic("other"), trial.add_topic("third")
        began = time.monotonic()
        with trial.fault("a topic deleted"):
            delete_amid_work(trial, other, 10**6)
            trial.handle_more(A_SECOND * 8)
        stood = max(trial.longest_pause(began, partition) for partition in range(PARTITIONS))
        delete_amid_work(trial, third, 2 * 10**6)
        for worker in trial.workers.values():
            trial.stop(worker)
        for worker in trial.workers.values():
            worker.start()
    trials.tell(f"partitions of the other topics stood still for {stood:.2f} s at most")
    assert stood <= stall


def delete_amid_work(trial: Trial, topic: str, first: int) -> None:
    """Some of it is handled and not yet committed."""
    trial.wait_committed()
    for partition in range(PARTITIONS):
        trial.crew.witness.write(topic, works(first + 10 * partition, 5), key=topic, partition=partition)

    def handled() -> int:
        return sum(note.topic == topic and note.event == "ok" for note in trial.crew.ledger.notes())

    until(lambda: handled() == 5 * PARTITIONS, 20, "all of the topic to be handled")
    assert sum(trial.crew.committed(topic).values()) < 5 * PARTITIONS, "it is not committed yet"
    trial.removed += read_topic(trial, topic)
    trial.topics.remove(topic)
    trial.crew.cluster.delete_topic(topic)


def test_partitions_are_added(crew: Crew, trials: Trials) -> None:
    """Also what was written to them before anybody knew of them is handled."""
    allowed = Allowed(recovery=2 * METADATA_SECONDS)
    with trials.run("F21 partitions added", crew, allowed=allowed, **SOON) as trial:
        with trial.fault("partitions added"):
            admin = crew.cluster.admin()
            added = NewPartitions(trial.topic, PARTITIONS + 2)
            admin.create_partitions([added])[trial.topic].result(20)
            began = time.monotonic()
            for partition in (PARTITIONS, PARTITIONS + 1):
                until(partial(is_there, trial, partition), 20, "a new partition")
                crew.witness.write(
                    trial.topic, works(partition * 10**6, 50), key=f"new-{partition}", partition=partition
                )
            until(lambda: begun_in(trial, PARTITIONS) and begun_in(trial, PARTITIONS + 1), 30, "new records")
        trials.tell(f"records of new partitions were handled after {time.monotonic() - began:.1f} s")
        trial.handle_more(200)


def test_records_are_removed_below_and_above_what_is_committed(crew: Crew, trials: Trials) -> None:
    """What had been read does no harm; the rest is told, from where to where."""
    patient: dict[str, Any] = {"KAFKA_SESSION_TIMEOUT_MS": 30_000}  # or a freeze might lead to an eviction
    with trials.run("F22 records removed", crew, workers=1, **patient) as trial:
        (worker,) = trial.workers.values()
        trial.handle_more(200)
        with trial.fault("records removed while the worker is away"):
            trial.stop(worker)
            trial.send_more(400)
            committed = [crew.committed(trial.topic)[trial.topic, p] for p in range(PARTITIONS)]
            remove(trial, 0, committed[0] - 5)
            remove(trial, 1, committed[1] + 30)
            worker.start().wait_ready()
        trial.handle_more(400)
        note_losses(trial, worker)
        assert trial.lost == [Lost(trial.topic, 1, committed[1], committed[1] + 30)]

        with trial.fault("records removed while the worker is frozen"):
            worker.pause()
            known = ends_of(trial)[2]
            trial.send_more(300)
            before = ends_of(trial)[2] - 5
            assert before > known, "that many are new to the worker"
            remove(trial, 2, before)
            worker.resume()
        trial.handle_more(300)
        note_losses(trial, worker)
        assert [(lost.partition, lost.end) for lost in trial.lost[1:]] == [(2, before)]
        assert worker.get("/health/kafka")["reasons"] == ["records_lost"]


class Bad(NamedTuple):
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


HOSTILE_HEADERS = (
    ("null", None),
    ("", b"no name"),
    ("not-utf-8", b"\xff\xfe\x00"),
    ("message-id", None),
    ("timestamp", b"9" * 400),
    ("n" * 70_000, b"a name of 70 kB"),
    *((f"h{n}", b"%d" % n) for n in range(200)),
)
SECRET = CANARY.encode()
MUCH = 1_048_576 - 2000
"""Almost all that a topic takes."""

BAD: Mapping[str, Bad] = {
    "not JSON": Bad(SECRET),
    "half JSON": Bad(b'{"Id": 1, "Memo": "' + SECRET),
    "bad UTF-8": Bad(b'{"Id": 1, "Memo": "\xff\xfe' + SECRET + b'"}'),
    "wrong schema": Bad(b'{"Id": "' + SECRET + b'"}'),
    "another type": Bad(b'["' + SECRET + b'"]'),
    "10,000 levels deep": Bad(b'{"Id":' * 10_000 + b"1" + b"}" * 10_000),
    "a number that takes for ever": Bad(b'{"Id": 1e999999999}'),
    "not a number": Bad(b'{"Id": NaN}'),
    "empty": Bad(b""),
    "null": Bad(None),
    "hostile headers": Bad(b"{", HOSTILE_HEADERS),
    "much text": Bad(SECRET + b"x" * MUCH),
    "many bytes": Bad(b"\xff" * MUCH),
    "many quotes": Bad(b'"' * MUCH),
}


def test_bad_messages_come_in_between(crew: Crew, trials: Trials) -> None:
    """Each is buried once and whole; what stands before and behind it is handled, of its key as well."""
    landed: dict[tuple[int, int], Bad] = {}
    with trials.run("F23, F24 messages that nobody can read", crew) as trial:
        with trial.fault("bad messages"):
            for number, bad in enumerate(BAD.values()):
                key, partition = good_key(trial, number)
                (where,) = crew.witness.write(
                    trial.topic,
                    [bad.value],
                    key=key,
                    headers=list(bad.headers),
                    partition=partition,
                    settings={"message.max.bytes": 2 * MUCH},
                )
                landed[where] = bad
                trial.handle_more(20)
        trial.handle_more(200)
    letters = [
        DeadLetterMessage.model_validate_json(seen.value or b"")
        for seen in crew.witness.read(f"{crew.name}.{DEAD_LETTERS}")
    ]
    assert len(letters) == len(BAD)
    for letter in letters:
        bad = landed[letter.original_partition or 0, letter.original_offset or 0]
        assert letter.original_value() == bad.value
        assert letter.original_headers() == bad.headers
        assert CANARY not in letter.error_message
    assert told_of_health(trials.evidence) == {200}


def told_of_health(evidence: Evidence) -> set[int | None]:
    """What any probe said while bad messages came."""
    (window,) = evidence.windows
    said = (answer for answers in evidence.answers.values() for answer in answers)
    return {answer.status for answer in said if window.began < answer.at < window.healed}


def good_key(trial: Trial, number: int) -> tuple[str, int]:
    """A key of the load, and the partition where its records are."""
    assert trial.load is not None
    sent = trial.load.acknowledged[number]
    return sent.key, sent.partition


def make_anew(trial: Trial) -> None:
    admin = trial.crew.cluster.admin()
    admin.delete_topics([trial.topic])[trial.topic].result(20)
    until(lambda: trial.topic not in trial.crew.cluster.metadata().topics, 20, "the topic to be gone")
    trial.anew_at = time.monotonic()
    trial.crew.cluster.create_topic(trial.topic, PARTITIONS)


def remove(trial: Trial, partition: int, before: int) -> None:
    """Take from the log of a partition what stands below an offset, as retention does."""
    trial.removed += [r for r in read_log(trial) if r.partition == partition and r.offset < before]
    admin = trial.crew.cluster.admin()
    for removed in admin.delete_records([TopicPartition(trial.topic, partition, before)]).values():
        removed.result(10)


def told_losses(worker: Service) -> list[dict[str, Any]]:
    (consumer,) = worker.get("/health/kafka")["consumers"]
    losses: list[dict[str, Any]] = consumer["losses"]
    return losses


def note_losses(trial: Trial, worker: Service) -> None:
    """What it says that it never saw, in the order it found out; it counts as lost from now on."""
    told = told_losses(worker)
    trial.lost = [Lost(loss["topic"], loss["partition"], loss["from"], loss["to"]) for loss in told]
    assert all(loss["records"] == loss["to"] - loss["from"] for loss in told)


def ends_of(trial: Trial) -> dict[int, int]:
    return trial.crew.witness.ends(trial.topic)


def is_there(trial: Trial, partition: int) -> bool:
    found = trial.crew.cluster.metadata().topics[trial.topic].partitions.get(partition)
    return found is not None and found.leader >= 0


def begun_in(trial: Trial, partition: int) -> bool:
    return any(note.partition == partition and note.event == "ok" for note in trial.crew.ledger.notes())


def works(first: int, many: int) -> list[bytes]:
    """Messages as the load writes them."""
    return [
        json.dumps({"Id": id, "Memo": CANARY}, separators=(",", ":")).encode()
        for id in range(first, first + many)
    ]
