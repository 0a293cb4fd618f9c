"""Workers that leave and join under load, and a broker that dies: nothing lost or twice, keys in order."""

from __future__ import annotations

import random
import signal
import time
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

import pytest

from tests.faults.conftest import Report
from tests.faults.crew import Crew, Load
from tests.support.ledgers import History, Place
from tests.support.probing import LIVE, READY, probing
from tests.support.waiting import until

PACE: Mapping[str, object] = {"KAFKA_CONCURRENCY": 8, "FAULTS_SLOWEST_SECONDS": 0.05}
OUTLIVES_A_FAILOVER: Mapping[str, object] = {"KAFKA_SESSION_TIMEOUT_MS": 30_000}
"""A group may be without its coordinator for 9 s, until the controller misses the dead broker: a member
whose session is shorter lets go of what it cannot commit, as it must, and repeats that."""
A_SECOND = 200
KEYS = 20
"""So few that handling one key is nearly always followed, and often pressed, by the next of its records."""


def test_a_worker_that_is_stopped_under_load_and_started_again_repeats_nothing(
    crew: Crew, report: Report
) -> None:
    """Promises 2 and 7: what is finished is committed in the end, and the rest left to whoever is next."""
    topic = crew.topic("work")
    worker = crew.hire("worker", **PACE)
    seconds = []
    with crew.load(A_SECOND, KEYS) as load:
        for _ in range(3):
            worker.start()
            crew.wait_handled(crew.ledger.count("ok") + random.randint(50, 200))
            told_at = time.monotonic()
            assert worker.terminate() == -signal.SIGTERM
            seconds.append(time.monotonic() - told_at)
            assert committed(crew, topic) == finished_prefix(crew.history())
        worker.start()
    written = crew.written(topic)
    crew.wait_all_handled(written)
    worker.terminate()

    report(f"{figures(crew, load, written)}; stops took {', '.join(f'{s:.2f}' for s in seconds)} s")
    assert_each_once_and_in_order(crew, load, written)


def test_workers_that_leave_and_join_under_load_hand_their_partitions_over(
    crew: Crew, report: Report
) -> None:
    """Promises 1, 2 and 3 across rebalances whose drains finish."""
    topic = crew.topic("work")
    one, two = (crew.hire(name, **PACE) for name in ("one", "two"))
    one.start().wait_ready()
    with crew.load(A_SECOND, KEYS) as load:
        crew.wait_handled(100)
        two.start()
        for leaver in (two, one, two):
            wait_at_work(crew, "one", "two")
            assert leaver.terminate() == -signal.SIGTERM
            crew.wait_handled(crew.ledger.count("ok") + 100)
            leaver.start()
        wait_at_work(crew, "one", "two")
    written = crew.written(topic)
    crew.wait_all_handled(written)
    for worker in (one, two):
        worker.terminate()

    report(figures(crew, load, written))
    assert_each_once_and_in_order(crew, load, written)


@pytest.mark.timeout(180)
def test_one_broker_of_three_dies_under_load_and_nothing_is_lost(crew_on_three: Crew, report: Report) -> None:
    """Promises 1, 3, 4, 6 and 8: the probes say that all is well, for it is."""
    crew = crew_on_three
    topic = crew.topic("work")
    one, two = (crew.hire(name, **PACE, **OUTLIVES_A_FAILOVER) for name in ("one", "two"))
    for worker in (one, two):
        worker.start().wait_ready(60)
    with probing(one.address) as first, probing(two.address) as second:
        with crew.load(A_SECOND, KEYS) as load:
            wait_at_work(crew, "one", "two")
            victim = crew.cluster.leader(topic)
            victim.kill()
            died_at = time.monotonic()
            before = len(load.acknowledged)
            until(lambda: len(load.acknowledged) >= before + 5 * A_SECOND, 60, "publishing to go on")
        written = crew.written(topic)
        crew.wait_all_handled(written)
    pause = longest_pause(crew.history(), died_at)
    for worker in (one, two):
        worker.terminate()

    lives, readies = (first.statuses(path) | second.statuses(path) for path in (LIVE, READY))
    report(
        f"{figures(crew, load, written)}; live {lives}, ready {readies}, the longest that a partition "
        f"stood still: {pause:.1f} s"
    )
    assert_each_once_and_in_order(crew, load, written)
    assert lives == {200}


def wait_at_work(crew: Crew, *names: str) -> None:
    """Return once each of them has begun something from now on."""
    now = time.monotonic()

    def all_at_work() -> bool:
        begun = {n.member.split(":")[0] for n in crew.ledger.notes() if n.at > now and n.event == "start"}
        return begun >= set(names)

    until(all_at_work, 30, f"{' and '.join(names)} to be at work")


def finished_prefix(history: History) -> dict[int, int]:
    """The lowest unfinished offset of each partition that was worked on."""
    handled = history.handled()
    lowest = {place.partition: 0 for place in handled}
    for place in sorted(handled):
        if place.offset == lowest[place.partition]:
            lowest[place.partition] += 1
    return lowest


def committed(crew: Crew, topic: str) -> dict[int, int]:
    return {partition: offset for (_, partition), offset in crew.committed(topic).items()}


def longest_pause(history: History, after: float) -> float:
    """The longest time that no record of some partition was begun, in seconds."""
    starts: dict[int, list[float]] = defaultdict(lambda: [after])
    for turn in history.turns:
        if turn.start >= after:
            starts[turn.place.partition].append(turn.start)
    return max(later - sooner for times in starts.values() for sooner, later in pairwise(times))


def figures(crew: Crew, load: Load, written: list[Place]) -> str:
    history = crew.history()
    return (
        f"{len(written)} records, {len(load.failures)} rounds failed, "
        f"{len(history.unhandled(written))} lost, {len(history.repeated())} repeated, "
        f"{len(history.out_of_order())} out of order, "
        f"{len(history.overlaps())} overlaps"
    )


def assert_each_once_and_in_order(crew: Crew, load: Load, written: list[Place]) -> None:
    topic = written[0].topic
    history = crew.history()
    acknowledged = {Place(topic, receipt.partition, receipt.offset) for receipt in load.acknowledged}
    assert load.failures == []
    assert acknowledged == set(written), "what was acknowledged is there, and nothing besides"
    assert history.unhandled(written) == []
    assert history.repeated() == {}
    assert history.out_of_order() == []
    assert history.overlaps() == []
    assert committed(crew, topic) == finished_prefix(history)
