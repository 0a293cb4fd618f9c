"""Middleware wraps, and observers hear, what a bus does, on every transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from convex_messaging_fastapi import (
    AttemptEnded,
    Buried,
    Committed,
    Delivery,
    Middleware,
    Observer,
    Outgoing,
    PublishEnded,
    PublishVerb,
    Rebalanced,
    Receipt,
    Record,
    Retried,
    Retry,
)
from tests.promises.fleet import Bet, Fleet, Heard
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


class Notes(Observer):
    """What was heard, in order."""

    def __init__(self) -> None:
        self.attempts: list[tuple[int, str]] = []
        self.published: list[tuple[str, int]] = []
        self.events: list[Any] = []

    def handling(self, group: str, handler: str, records: Sequence[Record], attempt: int) -> AttemptEnded:
        return lambda outcome, error: self.attempts.append((attempt, outcome))

    def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded:
        def ended(receipts: Sequence[Receipt], error: BaseException | None) -> None:
            self.published.append((topic, len(receipts)))

        return ended

    def retried(self, event: Retried) -> None:
        self.events.append(event)

    def buried(self, event: Buried) -> None:
        self.events.append(event)

    def committed(self, event: Committed) -> None:
        self.events.append(event)

    def rebalanced(self, event: Rebalanced) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def test_what_is_published_and_handled_goes_through_middleware_and_is_heard(fleet: Fleet) -> None:
    topic = await fleet.topic("bets", 1)
    marks, notes, heard = Marks(), Notes(), Heard[int]()
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
    assert notes.published == [(topic, 1)] * 3
    assert notes.attempts == [(1, "handled"), (1, "failed"), (2, "failed"), (1, "handled")]
    assert (letter.record.offset, letter.letter.topic) == (1, fleet.on_wire("dlq"))
    assert [event.record.offset for event in notes.of(Retried)] == [1]
    first, *_, last = notes.of(Rebalanced)
    assert (first.is_first, list(first.gained)) == (True, list(last.given_up))


def _committed(notes: Notes) -> int:
    return max((offset for event in notes.of(Committed) for offset in event.offsets.values()), default=0)


def _is_marked(record: Record) -> bool:
    return ("mark", b"ours") in record.headers
