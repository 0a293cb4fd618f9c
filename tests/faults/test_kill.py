"""Workers that are killed: nothing lost, no commit ever too far, repeats within their bound."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

import pytest

from tests.faults import mutants
from tests.faults.conftest import Report
from tests.faults.crew import Committed, Crew
from tests.support.ledgers import Place

BOUND = 20
BUSY: Mapping[str, object] = {
    "KAFKA_MAX_UNCOMMITTED": BOUND,
    "KAFKA_CONCURRENCY": 8,
    "FAULTS_SLOWEST_SECONDS": 0.2,
}


@pytest.mark.timeout(180)
def test_ten_kills_lose_nothing_and_repeat_no_more_than_the_bound(crew: Crew, report: Report) -> None:
    """Promises 1 and 2: at least once, and at most `max_uncommitted` repeats a partition after a crash.

    The worker is a static member, so that it need not wait for its dead self's session.
    """
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    topic = crew.topic("work")
    crew.give(0, 1000)
    written = crew.written(topic)
    worker = crew.hire("worker", **BUSY, KAFKA_GROUP_INSTANCE_ID="worker", FAULTS_SEED=seed)
    began = time.monotonic()

    committed: Committed = {}
    for _ in range(10):
        worker.start()
        crew.wait_handled(crew.ledger.count("ok") + chance.randint(1, 100))
        crew.kill(worker)
        committed = assert_no_commit_was_too_far(crew, topic, written, committed)
    worker.start()
    crew.wait_all_handled(written)
    worker.terminate()

    history = crew.history()
    repeats = history.repeats()
    report(
        f"seed {seed}, {len(written)} records, 10 kills, {len(history.unhandled(written))} lost, repeats "
        f"for each partition and kill: {sorted(repeats.values())}, {time.monotonic() - began:.1f} s"
    )
    assert max(repeats.values()) <= BOUND
    assert crew.committed(topic) == ends_of(written)


@pytest.mark.timeout(180)
def test_another_worker_takes_over_from_one_that_was_killed(crew: Crew, report: Report) -> None:
    """Without static membership, once the dead member's session is over."""
    topic = crew.topic("work")
    one, two = (crew.hire(name, **BUSY) for name in ("one", "two"))
    one.start().wait_ready()
    two.start().wait_ready()
    crew.give(0, 400)
    written = crew.written(topic)

    crew.wait_handled(100)
    killed = crew.kill(one)
    assert_no_commit_was_too_far(crew, topic, written, {})
    crew.wait_all_handled(written)
    two.terminate()

    history = crew.history()
    repeats = history.repeats()
    taken = {turn.place.partition for turn in history.turns if turn.member == killed}
    taken_over_at = min(
        turn.start
        for turn in history.turns
        if turn.start > crew.killed[killed] and turn.place.partition in taken
    )
    report(
        f"{len(written)} records, partitions {sorted(taken)} taken over after "
        f"{taken_over_at - crew.killed[killed]:.1f} s, repeats a partition: {sorted(repeats.values())}"
    )
    assert taken, "the killed one had been at work"
    assert taken_over_at - crew.killed[killed] < 10, "the session is six seconds"
    assert max(repeats.values(), default=0) <= BOUND
    assert history.overlaps() == []
    assert crew.committed(topic) == ends_of(written)


@pytest.mark.parametrize(
    "mutant", ["commit_the_highest_finished_offset", "commit_positions_on_a_timer"], ids=str
)
def test_an_engine_that_commits_too_far_is_caught_by_one_kill(
    mutant: str, crew: Crew, report: Report
) -> None:
    """The control: were these tests too weak to see a loss, they would pass here too."""
    topic = crew.topic("work")
    crew.give(0, 400)
    written = crew.written(topic)
    worker = crew.hire("worker", **BUSY, FAULTS_STUCK_EVERY=25, **{mutants.VARIABLE: mutant})
    worker.start()
    crew.wait_handled(100)
    crew.kill(worker)

    passed = crew.history().unsafe(crew.committed(topic), written)
    report(f"{len(passed)} records were committed and not handled")
    assert passed


def assert_no_commit_was_too_far(
    crew: Crew, topic: str, written: list[Place], before: Committed
) -> Committed:
    """Just after a kill; what is committed now."""
    committed = crew.committed(topic)
    history = crew.history()
    assert history.unsafe(committed, written) == []
    assert max(history.spans(committed).values()) <= BOUND
    assert all(offset >= before.get(where, 0) for where, offset in committed.items()), "one fell back"
    return committed


def ends_of(written: list[Place]) -> Committed:
    ends: Committed = {}
    for place in written:
        where = place.topic, place.partition
        ends[where] = max(place.offset + 1, ends.get(where, 0))
    return ends
