"""Middleware wraps, and observers hear, what a bus does, on every transport."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from convex_messaging_fastapi import (
    Buried,
    Committed,
    Delivery,
    Middleware,
    Outgoing,
    Rebalanced,
    Record,
    Retried,
    Retry,
)
from tests.promises.fleet import Bet, Fleet, Heard
from tests.support.hearing import Hears
from tests.support.waiting import eventually

TWICE = Retry(attempts=2, delay_seconds=0.01)


class Marks(Middleware):
    """Marks whatever is published, and keeps the marks of what is handled."""

    def __init__(self) -> None:
        self.handled: list[str | None] = []

    async def publish(self, outgoing: Outgoing, call_next: Any) -> Any:
        return await call_next(replace(outgoing, headers={**outgoing.headers, "mark": b"ours"}))

    async def __call__(self, delivery: Any, message: Any, call_next: Any) -> None:
        assert isinstance(delivery, Delivery)
        self.handled.append(delivery.headers.get("mark"))
        await call_next(delivery, message)


async def test_what_is_published_and_handled_goes_through_middleware_and_is_heard(fleet: Fleet) -> None:
    topic = await fleet.topic("bets", 1)
    marks, notes, heard = Marks(), Hears(), Heard[int]()
    bus = fleet.bus(middleware=[marks], observers=[notes], enable_auto_commit=False)

    @bus.subscriber("bets", retry=TWICE)
    async def take(bet: Bet) -> None:
        if bet.bet_id == 1:
            raise ConnectionError("never")
        heard.note(bet.bet_id)

    async with bus:
        for number in range(3):
            await bus.publish("bets", Bet(bet_id=number, player="ada"), key="ada")
        assert await heard.until(2) == [0, 2]
        await eventually(lambda: _committed(notes) == 3, 10, "the commit of all three")
        (letter,) = notes.of(Buried)
    assert marks.handled == ["ours"] * 4
    assert [record.headers for record in await fleet.records("bets") if not _is_marked(record)] == []
    assert notes.publishes == [(topic, "publish")] * 3
    assert notes.published == [(1, None)] * 3
    ends = [
        (attempt, outcome) for (*_, attempt), (outcome, _) in zip(notes.attempts, notes.ends, strict=True)
    ]
    assert ends == [(1, "handled"), (1, "failed"), (2, "failed"), (1, "handled")]
    assert (letter.record.offset, letter.letter.topic) == (1, fleet.on_wire("dlq"))
    assert [event.record.offset for event in notes.of(Retried)] == [1]
    first, *_, last = notes.of(Rebalanced)
    assert (first.is_first, list(first.gained)) == (True, list(last.given_up))


def _committed(notes: Hears) -> int:
    return max((offset for event in notes.of(Committed) for offset in event.offsets.values()), default=0)


def _is_marked(record: Record) -> bool:
    return ("mark", b"ours") in record.headers
