"""A hold has an owner, a reason and maybe an end; a partition is held with its topic."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.consuming.holds import Hold, Holds
from convex_messaging_fastapi.messages.pauses import Pause
from convex_messaging_fastapi.records import TopicPartition
from tests.consuming.support import TOPIC, WHERE, Bench
from tests.consuming.test_worker import Handler

Held = dict[str, Hold]


@pytest.mark.parametrize(
    ("own", "of_topic", "reason"),
    [
        ({}, {}, None),
        ({"job": Hold("no letter")}, {}, "no letter"),
        ({}, {"operator": Hold("paused")}, "paused"),
        ({"job": Hold("no letter")}, {"operator": Hold("paused")}, "no letter"),
        ({"job": Hold("no letter"), "timer": Hold("early", until=20)}, {}, "no letter"),
        ({"timer": Hold("early", until=20), "job": Hold("no letter")}, {}, "early"),
        ({"timer": Hold("early", until=10.5)}, {}, "early"),
        ({"timer": Hold("early", until=10)}, {}, None),
        ({"timer": Hold("early", until=3), "job": Hold("no letter")}, {}, "no letter"),
        ({"timer": Hold("early", until=3)}, {"operator": Hold("paused")}, "paused"),
        ({}, {"operator": Hold("paused", until=3)}, None),
    ],
)
def test_what_is_said_is_the_earliest_hold_that_has_not_ended(
    own: Held, of_topic: Held, reason: str | None
) -> None:
    clock = ManualClock()
    clock.advance(10)
    topic = Holds(clock.now)
    partition = Holds(clock.now, topic)
    for holds, placed in ((partition, own), (topic, of_topic)):
        for owner, hold in placed.items():
            holds.place(owner, hold)

    first = partition.first

    assert (None if first is None else first.reason) == reason


def test_only_the_owner_of_a_hold_lifts_it() -> None:
    holds = Holds(lambda: 0.0)
    holds.place("one", Hold("first"))
    holds.place("other", Hold("second"))

    holds.lift(["stranger", "one"])

    assert (holds.first, list(holds.owners)) == (Hold("second"), ["other"])
    holds.lift(["other"])
    holds.lift(["other"])
    assert holds.first is None


def test_an_owner_has_one_hold_at_a_place() -> None:
    holds = Holds(lambda: 0.0)
    holds.place("timer", Hold("early", until=5))
    holds.place("timer", Hold("early", until=7))

    assert holds.first == Hold("early", until=7)
    holds.lift(["timer"])
    assert holds.first is None


async def test_a_job_that_outlives_its_assignment_holds_nothing_of_the_next_one() -> None:
    async with Bench(Handler()) as bench:
        bench.transport.assign()
        await bench.turns()
        [before] = bench.worker.partitions
        bench.transport.revoke(bench.clock.now())
        await bench.turns()
        bench.transport.assign()
        await bench.turns()

        before.holds.place("job", Hold("no letter"))

        [owned] = bench.worker.partitions
        assert owned.held is None


async def test_nothing_of_a_topic_that_is_held_is_asked_for() -> None:
    other = TopicPartition("convex.other", 0)
    async with Bench(Handler(), topics=(TOPIC, other.topic)) as bench:
        bench.worker.hold(TOPIC, "operator", Hold("paused"))
        bench.transport.assign(WHERE, other)
        await bench.turns()
        bench.transport.feed(0)
        bench.transport.feed(0, where=other)
        await bench.advance(1)
        assert {where for want in bench.transport.wants for where in want} == {other}
        assert len(bench.transport.logs[WHERE]) == 1

        bench.worker.lift(TOPIC, "operator")
        await bench.advance(1)
        assert not bench.transport.logs[WHERE]


async def test_a_worker_that_is_held_back_belongs_to_its_group_and_fetches_nothing() -> None:
    async with Bench(Handler()) as bench:
        bench.worker.hold_back()
        bench.transport.assign()
        await bench.turns()
        bench.transport.feed(0)
        await bench.advance(1)
        assert not any(bench.transport.wants)
        assert len(bench.transport.logs[WHERE]) == 1

        bench.worker.go_on()
        await bench.advance(1)
        assert not bench.transport.logs[WHERE]


async def test_a_subscription_that_was_paused_holds_its_topics_in_the_worker_that_it_comes_to() -> None:
    pause = Pause("ada", datetime(2026, 1, 1, tzinfo=UTC))
    async with Bench(Handler()) as bench:
        bench.subscription.pause(pause)
        bench.worker.lift(TOPIC, ("paused", bench.subscription.config.id))
        bench.worker.add(bench.subscription)
        bench.transport.assign()
        await bench.turns()
        assert [owned.held for owned in bench.worker.partitions] == ["paused"]
        assert bench.subscription.status().paused == pause

        bench.subscription.resume()
        assert [owned.held for owned in bench.worker.partitions] == [None]
        assert bench.subscription.status().paused is None
