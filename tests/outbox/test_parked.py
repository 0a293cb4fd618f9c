"""Parked messages are looked at, put back as new rows, or dropped, by a person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.outbox import Outbox
from tests.outbox.databases import ON_EACH, engine_with_tables, url_of
from tests.outbox.relaying import FakeOutlet, Setting, turns


@pytest.fixture(params=ON_EACH)
async def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setting]:
    async with engine_with_tables(url_of(request, request.param, tmp_path)) as (engine, tables):
        yield Setting(engine, tables)


async def park(setting: Setting, outlet: FakeOutlet, *values: str) -> Outbox:
    outlet.too_large.update(value.encode() for value in values)
    await setting.put(*values)
    relay = await setting.relay(outlet)
    await relay.beat()
    await turns(relay)
    await relay.stop(5.0)
    bus = MessageBus(MessagingSettings(bootstrap_servers="memory://"))
    return Outbox(bus, setting.engine, setting.tables)


async def test_a_parked_message_tells_why(anywhere: Setting, outlet: FakeOutlet) -> None:
    outbox = await park(anywhere, outlet, "one", "two")
    first, second = await outbox.parked()
    assert (first.topic, first.key, first.message_id, first.size) == ("t", b"k", "one", 3)
    assert first.error == "MessageTooLarge: too large"
    assert first.id < second.id
    for at in (first.created_at, first.parked_at):
        assert at is not None
        assert abs(at - datetime.now(UTC)) < timedelta(minutes=5)
    assert [each.message_id for each in await outbox.parked(limit=1)] == ["one"]
    assert (await outbox.backlog()).parked == 2


async def test_what_is_replayed_comes_after_all_that_is_there(anywhere: Setting, outlet: FakeOutlet) -> None:
    outbox = await park(anywhere, outlet, "one", "two")
    await anywhere.put("three")
    outlet.too_large.clear()
    assert await outbox.replay([(await outbox.parked())[0].id]) == 1
    relay = await anywhere.relay(outlet)
    await relay.beat()
    await turns(relay)
    assert outlet.values() == [b"three", b"one"]
    assert [each.message_id for each in await outbox.parked()] == ["two"]


async def test_all_are_replayed_in_their_order(anywhere: Setting, outlet: FakeOutlet) -> None:
    outbox = await park(anywhere, outlet, "one", "two")
    outlet.too_large.clear()
    assert await outbox.replay() == 2
    relay = await anywhere.relay(outlet)
    await relay.beat()
    await turns(relay)
    assert outlet.values() == [b"one", b"two"]


async def test_what_is_dropped_is_gone_and_nothing_else(anywhere: Setting, outlet: FakeOutlet) -> None:
    outbox = await park(anywhere, outlet, "one", "two")
    await anywhere.put("due")
    ids = [each.id for each in await outbox.parked()]
    assert await outbox.drop([ids[0], ids[1] + 1]) == 1
    assert [value for value, _ in await anywhere.rows()] == [b"two", b"due"]
