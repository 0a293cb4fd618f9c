"""The example app as two processes of one group on a real cluster of three: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

import httpx

from convex_messaging_fastapi import MessageBus
from example_app.messages import BetPlaced, UserCreated
from tests.stories.conftest import Fleet
from tests.support.waiting import until

EVENTS = 10_000
ROUND = 500
HANDLERS = ("greet", "send_welcome")


async def test_two_processes_handle_ten_thousand_events_each_exactly_once(fleet: Fleet) -> None:
    """Both handlers see each event once, and an independent reader finds all of it committed."""
    await asyncio.to_thread(fleet.wait_shared)
    async with fleet.publisher() as bus:
        await publish(bus, 1, EVENTS)
    await asyncio.to_thread(wait_handled, fleet, EVENTS)

    await assert_each_was_handled_once(fleet, EVENTS)


async def test_one_of_two_is_stopped_and_started_again_amid_ten_thousand_events(fleet: Fleet) -> None:
    """Whoever leaves finishes and commits what it holds, whoever stays hands over what must move."""
    _, two = fleet.services
    await asyncio.to_thread(fleet.wait_shared)
    returned = asyncio.Event()
    publishing = asyncio.create_task(publish_until(returned, fleet))

    await asyncio.to_thread(wait_handled, fleet, EVENTS // 10)
    assert await asyncio.to_thread(two.terminate) == -signal.SIGTERM
    await asyncio.to_thread(two.start().wait_ready)
    await asyncio.to_thread(fleet.wait_shared)
    returned.set()
    published = await publishing
    await asyncio.to_thread(wait_handled, fleet, published)

    assert published >= EVENTS
    await assert_each_was_handled_once(fleet, published)


async def test_a_hostile_message_silences_neither_process(fleet: Fleet) -> None:
    """Seven hundred thousand digits beside a decimal took each process half a minute, one after the other."""
    await asyncio.to_thread(fleet.wait_shared)
    handled, slowest = asyncio.Event(), list[float]()
    watching = [
        asyncio.create_task(answers_of(service.address, handled, slowest)) for service in fleet.services
    ]
    async with fleet.publisher() as bus:
        for digits in (700_000, 200_000):
            hostile = b'{"UserId":1,"Stake":1,"Card":"x","BetId":1.' + b"1" * digits + b"}"
            await bus.publish("bet.placed", hostile, key="7", timeout=30)
        good = BetPlaced(bet_id=1, user_id=7, stake=Decimal("10.00"), card="4242")
        await bus.publish("bet.placed", good, key="7", timeout=30)
        await asyncio.to_thread(until, lambda: "collect_stake" in fleet.handled(), 5, "the good bet")
    handled.set()
    await asyncio.gather(*watching)

    assert max(slowest) < 1


async def answers_of(address: str, end: asyncio.Event, slowest: list[float]) -> None:
    """How long the probe that decides over a restart takes to answer, the longest of many."""
    async with httpx.AsyncClient(base_url=address, timeout=30) as http:
        while not end.is_set():
            began = time.monotonic()
            assert (await http.get("/health/kafka/live")).status_code == 200
            slowest.append(time.monotonic() - began)


async def publish(bus: MessageBus, first: int, many: int) -> None:
    """So many users are created, each with a key of its own."""
    now = datetime.now(UTC)
    events = [
        UserCreated(user_id=n, email=f"{n}@example.com", created_at=now) for n in range(first, first + many)
    ]
    await bus.publish_many("user.created", events, key=lambda event: str(event.user_id), timeout=30)


async def publish_until(returned: asyncio.Event, fleet: Fleet) -> int:
    """How many there were, at least `EVENTS`: in rounds, some after everybody has returned.

    Each round comes when the one before the last has been handled, so that there is always work.
    """
    async with fleet.publisher() as bus:
        for first in count(1, ROUND):
            is_last = first + ROUND > EVENTS and returned.is_set()
            await publish(bus, first, ROUND)
            if is_last:
                return first + ROUND - 1
            await asyncio.to_thread(wait_handled, fleet, first - 1)
    raise AssertionError("the rounds never end by themselves")


def wait_handled(fleet: Fleet, many: int) -> None:
    """Return once both handlers have seen so many messages."""
    until(
        lambda: all(fleet.handled().get(handler, (0, 0))[0] >= many for handler in HANDLERS),
        60,
        f"{many} events and as many commands to be handled",
    )


async def assert_each_was_handled_once(fleet: Fleet, many: int) -> None:
    """Ends both processes; asks them before, and the cluster afterwards."""
    handled = await asyncio.to_thread(fleet.handled)
    codes = await asyncio.gather(*(asyncio.to_thread(process.terminate) for process in fleet.services))

    assert handled == dict.fromkeys(HANDLERS, (many, many))
    assert codes == [-signal.SIGTERM] * 2, "both ended in order"
    assert not [process.name for process in fleet.services if "Traceback" in process.log.read_text()]
    assert await asyncio.to_thread(fleet.written) == {
        "user.created": many,
        "user.notifications": many,
        "dlq": 0,
    }
    assert await asyncio.to_thread(fleet.unread) == {"user.created": 0, "user.notifications": 0}
