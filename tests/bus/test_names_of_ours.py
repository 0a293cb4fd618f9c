"""Topics of ours: a bus neither gives them to handlers nor writes to them for its users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from convex_messaging_fastapi import ConfigurationError, DeclarationError, MessageBus, Middleware
from tests.bus.support import Bet, memory_bus

VERBS: dict[str, Callable[[MessageBus, str], Awaitable[object]]] = {
    "publish": lambda bus, topic: bus.publish(topic, Bet(bet_id=1)),
    "publish_many": lambda bus, topic: bus.publish_many(topic, [Bet(bet_id=1)]),
    "tombstone": lambda bus, topic: bus.tombstone(topic, key="k"),
    "send": lambda bus, topic: bus.send(topic, Bet(bet_id=1)),
}
OURS = ["dlq", "dlq.state", "control", "bets.replay", "convex.bets.replay", "bets.retry.5s"]


async def handle(bet: Bet) -> None: ...


@pytest.mark.parametrize("middleware", [[], [Middleware()]], ids=["plain", "wrapped"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("topic", OURS)
async def test_no_verb_publishes_to_one(topic: str, verb: str, middleware: list[Middleware]) -> None:
    bus = memory_bus(middleware=middleware)
    bus.subscriber("bet.placed")(handle)
    async with bus.test() as t:
        with pytest.raises(ConfigurationError, match="nothing else may be published"):
            await VERBS[verb](bus, topic)
        assert t.published(topic) == []


@pytest.mark.parametrize("topic", OURS[1:])
async def test_a_bus_with_a_handler_of_one_does_not_start(topic: str) -> None:
    bus = memory_bus()
    bus.subscriber(topic, id="curious")(handle)
    with pytest.raises(DeclarationError, match="'curious' cannot read"):
        await bus.start()
    assert bus.status().workers == ()


@pytest.mark.parametrize("topic", OURS[1:])
async def test_nor_is_one_added_while_it_runs(topic: str) -> None:
    bus = memory_bus()
    bus.subscriber("bet.placed")(handle)
    async with bus:
        with pytest.raises(DeclarationError, match="cannot read"):
            await bus.subscribe(topic, handle, id="curious")
        with pytest.raises(DeclarationError, match=r"'bets' and 'convex\.bets'"):
            await bus.subscribe("bet.won", handle, id="curious", group="convex.bets")
        assert await bus.subscribe("bet.won", handle, id="curious") == "curious"


async def test_a_group_that_has_left_keeps_no_name() -> None:
    bus = memory_bus()
    async with bus:
        await bus.subscribe("bet.placed", handle, id="late", group="late")
        with pytest.raises(ConfigurationError):
            await bus.publish("late.replay", Bet(bet_id=1))
        assert await bus.unsubscribe("late")
        await bus.subscribe("bet.placed", handle, id="next", group="convex.late")
        assert [worker.group for worker in bus.status().workers] == ["convex.late"]
