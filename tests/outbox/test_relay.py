"""A relay publishes the rows of its lanes in order, and loses none, whatever fails."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.errors import PublishFailed, PublishUnknown
from convex_messaging_fastapi.outbox.tables import DUE, HELD, LANES, PARKED
from tests.outbox.relaying import FakeOutlet, Setting, turns
from tests.support.waiting import eventually

NO_TOPIC = PublishFailed("no such topic")


async def test_rows_are_published_in_order_and_taken_out(setting: Setting, outlet: FakeOutlet) -> None:
    relay = await setting.relay(outlet)
    await setting.put("1", "2", "3")
    await relay.beat()
    await turns(relay)
    assert outlet.values() == [b"1", b"2", b"3"]
    assert await setting.rows() == []
    assert relay.counts.published == 3


async def test_without_a_lease_nothing_is_published(setting: Setting, outlet: FakeOutlet) -> None:
    relay = await setting.relay(outlet)
    await setting.put("1")
    await turns(relay)
    assert outlet.log == []


async def test_a_backlog_is_published_batch_by_batch(setting: Setting, outlet: FakeOutlet) -> None:
    relay = await setting.relay(outlet, batch=10)
    await setting.put(*[f"{number}" for number in range(95)])
    await relay.beat()
    await turns(relay)
    assert outlet.values() == [str(number).encode() for number in range(95)]
    assert len(outlet.calls) >= 10


async def test_a_lane_has_one_batch_under_way(setting: Setting, outlet: FakeOutlet) -> None:
    relay = await setting.relay(outlet, batch=2)
    await setting.put("1", "2", "3")
    await relay.beat()
    outlet.gate.clear()
    assert await relay.turn()
    assert not await relay.turn()
    outlet.gate.set()
    await turns(relay)
    assert outlet.values() == [b"1", b"2", b"3"]


async def test_a_slow_topic_keeps_only_its_lanes_waiting(setting: Setting, outlet: FakeOutlet) -> None:
    relay = await setting.relay(outlet)
    await setting.put("1", key="a")
    await relay.beat()
    outlet.gate.clear()
    await relay.turn()
    await asyncio.sleep(0)
    never, outlet.gate = outlet.gate, asyncio.Event()
    outlet.gate.set()
    await setting.put("2", key="b")
    await setting.put("3", key="a")
    await relay.turn()
    await asyncio.sleep(0)
    assert outlet.values() == [b"2"]
    never.set()
    await turns(relay)
    assert outlet.values() == [b"2", b"1", b"3"]


async def test_the_time_to_publish_is_what_is_left_of_the_lease(setting: Setting, outlet: FakeOutlet) -> None:
    setting.time = 1_000.0
    relay = await setting.relay(outlet, lease=30.0)
    await setting.put("1")
    await relay.beat()
    setting.time = 1_012.0
    await turns(relay)
    assert outlet.timeouts == [18.0]


async def test_with_less_than_a_third_of_the_lease_left_nothing_is_sent(
    setting: Setting, outlet: FakeOutlet
) -> None:
    setting.time = 1_000.0
    relay = await setting.relay(outlet, lease=30.0)
    await setting.put("1")
    await relay.beat()
    setting.time = 1_020.1
    await turns(relay)
    assert outlet.log == []
    await relay.beat()
    await turns(relay)
    assert outlet.values() == [b"1"]


async def test_a_relay_that_was_frozen_past_its_lease_has_no_lane(
    setting: Setting, outlet: FakeOutlet
) -> None:
    setting.time = 1_000.0
    relay = await setting.relay(outlet, lease=30.0)
    await relay.beat()
    setting.time = 1_031.0
    await turns(relay)
    assert dict(relay.lanes.tokens) == {}


async def test_a_row_that_is_too_large_is_parked_and_its_key_goes_on(
    setting: Setting, outlet: FakeOutlet
) -> None:
    relay = await setting.relay(outlet)
    outlet.too_large.add(b"2")
    await setting.put("1", "2", "3")
    await relay.beat()
    await turns(relay)
    assert outlet.values() == [b"1", b"3"]
    assert await setting.rows() == [(b"2", PARKED)]


async def test_a_topic_that_fails_is_held_while_others_go_on(setting: Setting, outlet: FakeOutlet) -> None:
    relay = await setting.relay(outlet)
    outlet.down["bad"] = NO_TOPIC
    await setting.put("1", "2", topic="bad")
    await setting.put("3", topic="good")
    await relay.beat()
    await turns(relay)
    assert outlet.values("good") == [b"3"]
    assert await setting.rows() == [(b"1", HELD), (b"2", HELD)]
    assert relay.holding.topics == {"bad": "PublishFailed: no such topic"}


async def test_a_held_topic_is_published_in_order_once_it_can_be(
    setting: Setting, outlet: FakeOutlet
) -> None:
    relay = await setting.relay(outlet)
    outlet.down["bad"] = NO_TOPIC
    await setting.put("1", "2", topic="bad")
    await relay.beat()
    await turns(relay)
    await setting.put("3", topic="bad")
    await turns(relay)
    assert [state for _, state in await setting.rows()] == [HELD] * 3
    del outlet.down["bad"]
    await turns(relay, until=lambda: len(outlet.log) == 3)
    assert outlet.values("bad") == [b"1", b"2", b"3"]
    await turns(relay)
    assert await setting.rows() == []
    assert relay.holding.topics == {}


async def test_while_the_cluster_is_away_nothing_is_tried_and_nothing_held(
    setting: Setting, outlet: FakeOutlet
) -> None:
    relay = await setting.relay(outlet)
    outlet.contact = False
    await setting.put("1")
    await relay.beat()
    await turns(relay)
    assert outlet.calls == []
    assert await setting.rows() == [(b"1", DUE)]
    outlet.contact = True
    await turns(relay)
    assert outlet.values() == [b"1"]


async def test_what_fails_because_the_cluster_went_away_is_not_held(
    setting: Setting, outlet: FakeOutlet
) -> None:
    relay = await setting.relay(outlet)
    outlet.down["t"] = PublishUnknown("no answer")
    await setting.put("1")
    await relay.beat()
    outlet.gate.clear()
    await relay.turn()
    outlet.contact = False
    outlet.gate.set()
    await relay.settled()
    assert relay.holding.topics == {}
    assert await setting.rows() == [(b"1", DUE)]


async def test_who_takes_over_a_lane_takes_over_its_held_topics(setting: Setting) -> None:
    first, second = FakeOutlet(), FakeOutlet()
    dead = await setting.relay(first)
    first.down["t"] = NO_TOPIC
    await setting.put("1", "2")
    await dead.beat()
    await turns(dead)
    await setting.end_leases()
    heir = await setting.relay(second)
    await heir.beat()
    await setting.put("3")
    await turns(heir, until=lambda: len(second.log) == 3)
    assert second.values() == [b"1", b"2", b"3"]


async def test_a_relay_that_lost_its_lanes_holds_nothing_back(setting: Setting) -> None:
    """It was frozen while its batch was under way; the topic failed for it, and works for its heir."""
    setting.time = 1_000.0
    old, new = FakeOutlet(), FakeOutlet()
    frozen = await setting.relay(old)
    old.down["t"] = NO_TOPIC
    await setting.put("1", "2")
    await frozen.beat()
    old.gate.clear()
    await frozen.turn()
    await setting.end_leases()
    heir = await setting.relay(new, batch=1)
    await heir.beat()
    await heir.turn()
    await heir.settled()
    old.gate.set()
    await frozen.settled()
    await frozen.turn()
    await frozen.settled()
    assert await setting.rows() == [(b"2", DUE)]
    await turns(heir)
    assert new.values() == [b"1", b"2"]


async def test_a_second_relay_gets_half_of_the_lanes(setting: Setting, outlet: FakeOutlet) -> None:
    a, b = await setting.relay(outlet), await setting.relay(outlet)
    assert await a.beat() == 1
    assert await b.beat() == 2
    assert len(b.lanes.tokens) == 0
    await a.beat()
    await a.settled()
    await b.beat()
    assert len(a.lanes.tokens) == len(b.lanes.tokens) == LANES // 2
    assert not a.lanes.tokens.keys() & b.lanes.tokens.keys()


async def test_lanes_are_given_back_only_after_what_is_under_way(setting: Setting) -> None:
    slow, quick = FakeOutlet(), FakeOutlet()
    a, b = await setting.relay(slow), await setting.relay(quick)
    await setting.put(*[f"{number}" for number in range(64)], key=None)
    await a.beat()
    slow.gate.clear()
    await a.turn()
    await b.beat()
    await a.beat()
    await b.beat()
    assert not b.lanes.tokens, "lanes were given back with rows under way"
    slow.gate.set()
    await a.settled()
    await b.beat()
    assert b.lanes.tokens
    await turns(b)
    assert quick.log == []


async def test_a_relay_that_stops_gives_its_lanes_to_the_next_one_at_once(
    setting: Setting, outlet: FakeOutlet
) -> None:
    a, b = await setting.relay(outlet), await setting.relay(outlet)
    await a.beat()
    await a.stop(5.0)
    assert await b.beat() == 1
    assert len(b.lanes.tokens) == LANES


async def test_a_stop_waits_for_what_is_under_way(setting: Setting, outlet: FakeOutlet) -> None:
    relay = await setting.relay(outlet)
    await setting.put("1")
    await relay.beat()
    outlet.gate.clear()
    await relay.turn()
    stopping = asyncio.create_task(relay.stop(5.0))
    await asyncio.sleep(0)
    outlet.gate.set()
    await stopping
    assert await setting.rows() == []


async def test_a_stop_ends_although_the_cluster_says_nothing(setting: Setting, outlet: FakeOutlet) -> None:
    relay = await setting.relay(outlet)
    await setting.put("1")
    await relay.beat()
    outlet.gate.clear()
    await relay.turn()
    await relay.stop(0.2)
    assert await setting.rows() == [(b"1", DUE)]


async def test_a_row_that_cannot_be_read_is_parked(setting: Setting, outlet: FakeOutlet) -> None:
    relay = await setting.relay(outlet)
    await setting.put("1", "2")
    async with setting.engine.begin() as connection:
        row = setting.tables.outbox
        await connection.execute(row.update().where(row.c.value == b"1").values(headers="no JSON"))
    await relay.beat()
    await turns(relay)
    assert outlet.values() == [b"2"]
    assert await setting.rows() == [(b"1", PARKED)]


async def test_what_was_published_while_the_database_was_away_is_taken_out_later(
    setting: Setting, outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await setting.relay(outlet)
    await setting.put("1")
    await relay.beat()
    settling = relay._store.settling
    answers = iter([OSError("away"), OSError("away"), None])
    real = settling.delivered

    async def flaky(ids: list[int]) -> None:
        if (error := next(answers)) is not None:
            raise error
        await real(ids)

    monkeypatch.setattr(settling, "delivered", flaky)
    await turns(relay)
    assert outlet.values() == [b"1"]
    assert await setting.rows() == []


async def test_a_relay_works_until_its_end_and_wakes_when_it_is_told(
    setting: Setting, outlet: FakeOutlet
) -> None:
    relay = await setting.relay(outlet)
    await relay.beat()
    working = asyncio.create_task(relay.work())
    await setting.put("1")
    relay.wake()
    await eventually(lambda: outlet.values() == [b"1"], 10, "the relay")
    relay.end()
    await working
