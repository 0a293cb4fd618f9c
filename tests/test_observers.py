"""What observers hear of handling, publishing and the rest, and that none of them can fail any of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from convex_messaging_fastapi import (
    AttemptEnded,
    Batch,
    BatchFailed,
    Buried,
    Committed,
    ConfigurationError,
    ContactLost,
    ContactRegained,
    Discard,
    Failure,
    MessageBus,
    Middleware,
    Observer,
    PublishEnded,
    PublishFailed,
    PublishVerb,
    Rebalanced,
    Receipt,
    Record,
    Reject,
    Retried,
    Retry,
    RetryAfter,
    TopicPartition,
)
from convex_messaging_fastapi.events import AttemptOutcome
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.records import Headers
from tests.bus.support import Bet, memory_bus
from tests.support.hearing import Hears

TWICE = Retry(attempts=2, delay_seconds=5, jitter=0)
SPAN: ContextVar[str] = ContextVar("span", default="none")


# What the handler raises, how its attempts end for an observer, and what they failed with.
ENDS: list[tuple[BaseException | None, list[tuple[str, str | None]]]] = [
    (None, [("handled", None)]),
    (ValueError("no"), [("failed", "ValueError")] * 2),
    (RetryAfter(1), [("failed", "RetryAfter")] * 2),
    (Reject("no"), [("rejected", "Reject")]),
    (Discard("no"), [("discarded", "Discard")]),
    (ExceptionGroup("both", [Reject("no"), Discard("no")]), [("rejected", "ExceptionGroup")]),
    (ExceptionGroup("both", [Reject("no"), ValueError("no")]), [("failed", "ExceptionGroup")] * 2),
    (asyncio.CancelledError(), [("failed", "HandlerCancelled")] * 2),
]


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize(("raised", "ends"), ENDS)
async def test_each_attempt_is_told_with_its_end(
    raised: BaseException | None, ends: list[tuple[str, str | None]], batch: bool
) -> None:
    hears = Hears()
    bus = memory_bus(observers=[hears])

    async def single(bet: Bet) -> None:
        if raised is not None:
            raise raised

    async def several(bets: list[Bet]) -> None:
        await single(bets[0])

    bus.subscriber("bet", id="bets", retry=TWICE, batch=Batch(max_records=1) if batch else None)(
        several if batch else single
    )
    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1))
        await t.settle()
    assert hears.ends == ends
    assert hears.attempts == [("bets", "bets", [0], n + 1) for n in range(len(ends))]


async def test_an_attempt_that_is_late_and_one_that_nobody_had_time_for_are_told() -> None:
    hears = Hears()
    bus = memory_bus(observers=[hears])

    @bus.subscriber("bet", timeout=30, retry=Retry(attempts=1))
    async def hang(bet: Bet) -> None:
        await asyncio.Event().wait()

    @bus.subscriber("late")
    async def hang_for_ever(bet: Bet) -> None:
        await asyncio.Event().wait()

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1))
        await t.advance(31)
        await bus.publish("late", Bet(bet_id=1))
        await t.advance(1)
    assert hears.ends == [("timed_out", "AttemptTimedOut"), ("cancelled", "CancelledError")]


async def test_what_cannot_be_decoded_and_what_its_filter_fails_on_are_attempts_that_failed() -> None:
    hears = Hears()
    bus = memory_bus(observers=[hears])

    def wants(delivery: Any) -> bool:
        raise ConnectionError

    @bus.subscriber("bet", id="decoding")
    async def one(bet: Bet) -> None: ...

    @bus.subscriber("bet", id="a batch", batch=Batch(max_records=1))
    async def several(bets: list[Bet]) -> None: ...

    @bus.subscriber("bet", id="a filter", filter=wants, retry=Retry(attempts=1))
    async def filtered(bet: Bet) -> None: ...

    async with bus.test() as t:
        await bus.publish("bet", {"no": "bet"})
        await t.settle()
        counted = {sub.id: sub.failed_attempts for sub in bus.status().workers[0].subscriptions}
    assert sorted(told[1] for told in hears.attempts) == ["a batch", "a filter", "decoding"]
    assert sorted(hears.ends) == [
        ("failed", "ConnectionError"),
        ("failed", "DecodeError"),
        ("failed", "DecodeError"),
    ]
    assert set(counted.values()) == {1}


async def test_a_batch_is_one_attempt_of_all_its_members() -> None:
    hears = Hears()
    bus = memory_bus(observers=[hears])

    @bus.subscriber("bet", batch=Batch(max_records=3, max_wait_seconds=1), id="bets", retry=TWICE)
    async def handle(bets: list[Bet]) -> None:
        if bets[0].bet_id == 0:
            raise BatchFailed(2)

    async with bus.test() as t:
        await bus.publish_many("bet", [Bet(bet_id=n) for n in range(3)], key="ada")
        await t.settle()
    assert hears.attempts == [("bets", "bets", [0, 1, 2], 1), ("bets", "bets", [2], 2)]
    assert hears.ends == [("failed", "BatchFailed"), ("handled", None)]


async def test_every_publish_is_told_with_its_end_and_dead_letters_are_not() -> None:
    hears = Hears()
    bus = memory_bus(observers=[hears])

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        raise Reject("no")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await bus.publish_many("other", [1, 2, 3])
        await bus.tombstone("other", key="ada")
        with pytest.raises(Exception, match="JSON"):
            await bus.publish("other", object())
        await t.settle()
    topics = ["convex.bet.placed", "convex.other", "convex.other", "convex.other"]
    assert hears.publishes == list(
        zip(topics, ["publish", "publish_many", "tombstone", "publish"], strict=True)
    )
    assert hears.published == [(1, None), (3, None), (1, None), (0, "EncodeError")]
    assert len(t.dead_letters()) == 1


async def test_what_is_written_is_told_with_its_headers_within_the_publish_that_writes_it() -> None:
    """Nobody who does not ask for it is told, the members of a list are not, and a dead letter is."""
    story = list[str]()

    class Sends(Observer):
        def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded | None:
            story.append(topic)
            return None

        def burying(self, topic: str, record: Record, failure: Failure) -> PublishEnded | None:
            story.append(topic)
            return None

        def sending(self, headers: Headers) -> None:
            story.append((dict(headers)["message-id"] or b"").decode())

    bus = memory_bus(observers=[Sends()])

    @bus.subscriber("bet")
    async def handle(bet: Bet) -> None:
        raise Reject("no")

    async with bus.test() as t:
        await bus.publish_many("other", [1, 2, 3])
        await bus.tombstone("other", key="ada", headers={"message-id": "m-1"})
        await bus.publish("bet", Bet(bet_id=1), headers={"message-id": "m-2"})
        await t.settle()
        (letter,) = t.records("dlq")
    of_letter = (dict(letter.headers)["message-id"] or b"").decode()
    publishes = ["convex.other", "convex.other", "m-1", "convex.bet", "m-2"]
    assert story == [*publishes, "convex.dlq", of_letter]


async def test_one_who_hears_only_of_headers_hears_of_a_publish_that_nobody_wraps() -> None:
    class Sends(Observer):
        def sending(self, headers: Headers) -> None:
            heard.append(headers)

    heard = list[Headers]()
    bus = memory_bus(observers=[Sends()])
    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1))
        await bus.tombstone("bet", key="ada")
    assert heard == [record.headers for record in t.records("bet")]


async def test_a_publish_is_told_within_all_middleware() -> None:
    class Twice(Middleware):
        async def publish(self, outgoing: Any, call_next: Any) -> Any:
            await call_next(outgoing)
            return await call_next(outgoing)

    class Refuses(Middleware):
        async def publish(self, outgoing: Any, call_next: Any) -> Any:
            raise PublishFailed("not today")

    for middleware, times in [(Twice(), 2), (Refuses(), 0)]:
        hears = Hears()
        bus = memory_bus(observers=[hears], middleware=[middleware])
        async with bus.test():
            try:
                await bus.publish("bet", 1)
            except PublishFailed:
                assert times == 0
        assert len(hears.publishes) == len(hears.published) == times


async def test_the_rare_things_are_told_as_values() -> None:
    hears = Hears()
    bus = memory_bus(observers=[hears])

    @bus.subscriber("bet", id="bets", retry=TWICE)
    async def handle(bet: Bet) -> None:
        raise ValueError("no such player")

    async with bus.test() as t:
        receipt = await bus.publish("bet", Bet(bet_id=1))
        await t.settle()
        (letter,) = t.records("dlq")
    where = TopicPartition(receipt.topic, receipt.partition)

    (retried,) = hears.of(Retried)
    assert (retried.record.topic_partition, retried.failure.attempts, retried.delay_seconds) == (where, 1, 5)
    (buried,) = hears.of(Buried)
    assert (buried.record, buried.failure.text, buried.failure.attempts) == (
        retried.record,
        "no such player",
        2,
    )
    assert (buried.letter.partition, buried.letter.offset) == (letter.partition, letter.offset)
    assert buried.failed_tries == 0
    first, *_, last = hears.of(Rebalanced)
    assert (first.group, where in first.gained, first.given_up, first.is_first) == ("bets", True, (), True)
    assert (where in last.given_up, last.gained, last.at_work, last.is_lost) == (True, (), 0, False)
    stored = [event.offsets[where] for event in hears.of(Committed) if where in event.offsets]
    assert (stored[-1], stored) == (1, sorted(stored))
    assert not any(event.not_stored for event in hears.of(Committed))


@pytest.mark.parametrize("times", [1, 2], ids=["one observer", "two"])
async def test_each_try_to_write_a_dead_letter_is_told_with_its_end_in_the_context_of_what_writes_it(
    times: int,
) -> None:
    """Twice nothing answers; then it is written."""
    story: list[Any] = []

    class Buries(Observer):
        def burying(self, topic: str, record: Record, failure: Failure) -> PublishEnded | None:
            token = SPAN.set("burying")
            story.append((topic, record.topic, failure.handler))

            def end(receipts: Sequence[Receipt], error: BaseException | None) -> None:
                SPAN.reset(token)
                story.append(type(error).__name__ if error else receipts[0].topic)

            return end

    bus = memory_bus(observers=[Buries() for _ in range(times)])

    @bus.subscriber("bet", id="bets")
    async def handle(bet: Bet) -> None:
        t.broker.down()
        raise Reject("no")

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1))
        await t.advance(35)
        t.broker.up()
        await t.settle()
    begun = [("convex.dlq", "convex.bet", "bets")] * times
    assert story[: 2 * times] == [*begun, *["PublishFailed"] * times]
    assert story[-2 * times :] == [*begun, *["convex.dlq"] * times]
    assert SPAN.get() == "none"


class Raises(Observer):
    """In everything, at its beginning or, once it has begun, at its end."""

    def __init__(self, *, at_its_end: bool, error: BaseException) -> None:
        self._at_its_end, self._error = at_its_end, error

    def handling(
        self, group: str, handler: str, records: Sequence[Record], attempt: int
    ) -> AttemptEnded | None:
        return self._begin()

    def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded | None:
        return self._begin()

    def burying(self, topic: str, record: Record, failure: Failure) -> PublishEnded | None:
        return self._begin()

    def _begin(self) -> Callable[[Any, Any], None]:
        if not self._at_its_end:
            raise self._error
        return self._end

    def _end(self, one: object, other: object) -> None:
        raise self._error

    def retried(self, event: Retried) -> None:
        raise self._error

    buried = committed = rebalanced = retried  # type: ignore[assignment]


class OfAnotherLibrary(BaseException):
    """As panics of libraries in Rust."""


@pytest.mark.parametrize("error", [ValueError("broken"), OfAnotherLibrary(), SystemExit()])
@pytest.mark.parametrize("at_its_end", [False, True])
@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
async def test_one_that_raises_is_told_once_and_fails_nothing(
    at_its_end: bool, batch: bool, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    hears = Hears()
    bus, got = memory_bus(observers=[Raises(at_its_end=at_its_end, error=error), hears]), list[Any]()

    async def single(bet: Bet) -> None:
        got.append(bet.bet_id)
        if bet.bet_id == 2:
            raise Reject("no")

    async def several(bets: list[Bet]) -> None:
        await single(bets[0])

    bus.subscriber("bet", id="bets", batch=Batch(max_records=1) if batch else None)(
        several if batch else single
    )
    async with bus.test() as t:
        for n in (1, 2, 3):
            await bus.publish("bet", Bet(bet_id=n), key="ada")
        await t.settle()
        assert got == [1, 2, 3]
        assert len(t.dead_letters()) == 1
        assert all(worker.alive for worker in bus.status().workers)
    (told,) = [line for line in caplog.messages if line.startswith("the observer ")]
    assert told.startswith("the observer Raises raised, which changes nothing and is told once: ")
    assert [outcome for outcome, _ in hears.ends] == ["handled", "rejected", "handled"]
    assert len(hears.published) == 3
    assert len(hears.of(Buried)) == 1


async def test_a_context_variable_that_is_set_is_the_handlers_and_is_set_back_in_the_reverse_order() -> None:
    story: list[str] = []

    class Spans(Observer):
        def __init__(self, name: str) -> None:
            self._name = name

        def handling(
            self, group: str, handler: str, records: Sequence[Record], attempt: int
        ) -> AttemptEnded | None:
            token = SPAN.set(f"{SPAN.get()}/{self._name}")

            def end(outcome: AttemptOutcome, error: BaseException | None) -> None:
                SPAN.reset(token)
                story.append(f"{self._name} back to {SPAN.get()}")

            return end

    bus = memory_bus(observers=[Spans("outer"), Spans("inner")])
    tasks = set[Any]()

    @bus.subscriber("bet", concurrency=1)
    async def handle(bet: Bet) -> None:
        story.append(SPAN.get())
        tasks.add(asyncio.current_task())

    async with bus.test() as t:
        await bus.publish_many("bet", [Bet(bet_id=1), Bet(bet_id=2)], key="ada")
        await t.settle()
    assert story == ["none/outer/inner", "inner back to none/outer", "outer back to none"] * 2
    assert len(tasks) == 1, "a variable that is set back costs no task"


class Contacts(Observer):
    def __init__(self) -> None:
        self.heard: asyncio.Queue[ContactLost | ContactRegained] = asyncio.Queue()

    def contact_lost(self, event: ContactLost) -> None:
        self.heard.put_nowait(event)

    def contact_regained(self, event: ContactRegained) -> None:
        self.heard.put_nowait(event)


async def test_a_cluster_that_is_not_reached_is_told() -> None:
    contacts = Contacts()
    async with memory_bus(bootstrap_servers="localhost:1", observers=[contacts]):
        event = await asyncio.wait_for(contacts.heard.get(), 60)
    assert isinstance(event, ContactLost)
    assert (event.cluster, event.had_contact) == ("localhost:1", False)
    assert event.why


def test_what_nobody_wants_to_hear_is_told_to_nobody() -> None:
    for observers in (Observers(), Observers([Observer(), Contacts()])):
        assert observers.attempts_of("g", "h") is None
        assert observers.publishing is None
        assert observers.burying is None
        assert observers.committed is None
    assert Observers([Hears()]).committed is not None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([object()], "object"),
        ([Observer], "the class Observer"),
        (Observer(), "Observer"),
    ],
)
def test_what_is_no_list_of_observers_is_refused_at_once(given: Any, named: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"observers=\[\.\.\.\], .*derive from Observer, not {named}"
    ):
        MessageBus(observers=given)
