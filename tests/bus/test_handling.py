"""What becomes of messages: handled, tried again, buried, discarded, held."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI

from convex_messaging_fastapi import (
    Batch,
    BatchFailed,
    Bus,
    BusStateError,
    ConvexMessage,
    DeadLetterMessage,
    DeclarationError,
    Delivery,
    Discard,
    Receipt,
    Reject,
    Retry,
    RetryAfter,
    Subscribers,
)
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.memory import MemoryBroker
from tests.bus.support import Bet, memory_bus

THRICE = Retry(attempts=3, delay_seconds=5, jitter=0)


async def test_a_handler_gets_what_was_published() -> None:
    bus = memory_bus()
    got: list[Bet] = []

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        got.append(bet)

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=7))
        await t.settle()

    assert got == [Bet(bet_id=7)]


async def test_the_decorated_function_stays_an_ordinary_function() -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> int:
        return bet.bet_id

    assert await handle(Bet(bet_id=3)) == 3


async def test_two_handlers_of_one_topic_both_get_every_message() -> None:
    bus = memory_bus()
    got: list[tuple[str, int]] = []

    @bus.subscriber("bet.placed")
    async def one(bet: Bet) -> None:
        got.append(("one", bet.bet_id))

    @bus.subscriber("bet.placed", "bet.won")
    async def two(bet: Bet) -> None:
        got.append(("two", bet.bet_id))

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await bus.publish("bet.won", Bet(bet_id=2))
        await t.settle()

        assert sorted(got) == [("one", 1), ("two", 1), ("two", 2)]
        assert len(bus.status().workers) == 1, "one group, one consumer"


async def test_a_group_of_its_own_gets_its_own_copy_by_its_own_consumer() -> None:
    bus = memory_bus()
    got: list[str] = []

    @bus.subscriber("bet.placed")
    async def here(bet: Bet) -> None:
        got.append("here")

    @bus.subscriber("bet.placed", group="audit")
    async def there(bet: Bet) -> None:
        got.append("there")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        assert sorted(got) == ["here", "there"]
        assert {worker.group for worker in bus.status().workers} == {"bets", "audit"}


async def test_a_command_has_exactly_one_receiver_whatever_the_service() -> None:
    """Two services, two consumer groups, one queue."""
    got: list[int] = []
    buses = [memory_bus(bootstrap_servers="memory://queues", consumer_group=f"service-{n}") for n in range(2)]
    done = asyncio.Event()

    async def receive(bet: Bet) -> None:
        got.append(bet.bet_id)
        if len(got) == 20:
            done.set()

    for bus in buses:
        bus.receiver("payments")(receive)
    async with buses[0], buses[1]:
        for n in range(20):
            await buses[0].send("payments", Bet(bet_id=n))
        await asyncio.wait_for(done.wait(), 10)
        groups = {worker.group for bus in buses for worker in bus.status().workers}

    assert sorted(got) == list(range(20))
    assert groups == {"convex.payments"}


def test_a_second_receiver_of_one_queue_is_refused() -> None:
    bus = memory_bus()
    bus.receiver("payments")(_ignore)

    with pytest.raises(DeclarationError, match="already has the receiver"):
        bus.receiver("payments")(_ignore)


async def test_a_failed_message_is_tried_again_with_growing_patience_and_then_buried() -> None:
    bus = memory_bus()
    attempts: list[tuple[int, float]] = []

    async with bus_with(bus, "bet.placed", lambda: attempts, retry=THRICE) as t:
        await bus.publish("bet.placed", Bet(bet_id=1), key="ada")
        await t.settle()

        assert [attempt for attempt, _ in attempts] == [1, 2, 3]
        began = attempts[0][1]
        assert [round(at - began) for _, at in attempts] == [0, 5, 15]
        (letter,) = t.dead_letters()
        assert letter.original_topic == "convex.bet.placed"
        assert letter.original_message == '{"BetId":1,"Player":"ada"}'
        assert letter.attempts == 3
        assert letter.consumer_group == "bets"
        assert "out of order" in letter.error_message


async def test_settings_say_how_often_and_how_fast_by_default() -> None:
    bus = memory_bus(max_retry_attempts=2, retry_delay_seconds=60)
    attempts: list[tuple[int, float]] = []

    async with bus_with(bus, "bet.placed", lambda: attempts) as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        (_, first), (_, second) = attempts
        assert 40 <= second - first <= 61


async def test_a_message_that_succeeds_on_the_second_try_is_not_buried() -> None:
    bus = memory_bus()
    seen: list[int] = []

    @bus.subscriber("bet.placed", retry=THRICE)
    async def handle(bet: Bet, delivery: Delivery) -> None:
        seen.append(delivery.attempt)
        if delivery.attempt == 1:
            raise ConnectionError("the database is away")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        assert (seen, t.dead_letters()) == ([1, 2], [])


async def test_reject_buries_at_once_and_discard_buries_nothing() -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        raise Reject("unknown player") if bet.bet_id == 1 else Discard("seen before")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await bus.publish("bet.placed", Bet(bet_id=2))
        await t.settle()

        (letter,) = t.dead_letters()
        assert (letter.error_message, letter.attempts) == ("unknown player", 1)
        (subscription,) = bus.status().workers[0].subscriptions
        assert (subscription.buried, subscription.discarded, subscription.handled) == (1, 1, 0)


async def test_retry_after_waits_as_long_as_the_handler_says() -> None:
    bus = memory_bus()
    at: list[float] = []

    async with bus.test() as t:

        async def handle(bet: Bet) -> None:
            at.append(t.clock.now())
            if len(at) == 1:
                raise RetryAfter(120)

        await bus.subscribe("bet.placed", handle)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        assert at[1] - at[0] == pytest.approx(120, abs=0.5)


async def test_a_handler_that_takes_too_long_has_failed() -> None:
    bus = memory_bus()
    ended: list[str] = []

    @bus.subscriber("bet.placed", timeout=30, retry=Retry(attempts=1))
    async def handle(bet: Bet) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await bus.publish("bet.placed", Bet(bet_id=2))
        await t.advance(31)
        await t.advance(31)

        assert [letter.error_message for letter in t.dead_letters()] == [
            "the handler did not return within 30 s"
        ] * 2
        assert ended == ["cleaned up"] * 2


async def test_a_timeout_of_the_handlers_own_is_not_taken_for_that_of_the_attempt() -> None:
    bus = memory_bus()
    attempts: list[int] = []

    @bus.subscriber("bet.placed", timeout=30, retry=Retry(attempts=2, only=(TimeoutError,)))
    async def handle(bet: Bet, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise TimeoutError("the database did not answer")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        assert attempts == [1, 2]
        assert [letter.error_message for letter in t.dead_letters()] == ["the database did not answer"]


async def test_a_handler_that_raises_cancelled_error_itself_has_failed_and_is_not_done() -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", retry=Retry(attempts=1))
    async def handle(bet: Bet) -> None:
        raise asyncio.CancelledError

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        assert len(t.dead_letters()) == 1


def exits(bet: Bet) -> None:
    sys.exit("no bets today")


async def exits_later(bet: Bet, delivery: Delivery) -> None:
    sys.exit("no bets today")


@pytest.mark.parametrize("handler", [exits, exits_later])
async def test_a_handler_that_calls_for_the_end_of_the_process_has_failed_and_ends_nothing(
    handler: Callable[..., object],
) -> None:
    bus = memory_bus()
    bus.subscriber("bet.placed", retry=Retry(attempts=2))(handler)

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        assert [(letter.error_message, letter.attempts) for letter in t.dead_letters()] == [
            ("the handler raised SystemExit('no bets today')", 2)
        ]


@pytest.mark.parametrize(
    "value",
    [b"not JSON", b"\xff\xfe", b'{"BetId": "seven"}', b"[" * 10_000, b"", None],
    ids=["not JSON", "bad UTF-8", "wrong schema", "10,000 levels", "empty", "null"],
)
async def test_a_bad_message_is_buried_untried_with_its_bytes_and_the_next_one_is_handled(
    value: bytes | None,
) -> None:
    bus = memory_bus()
    got: list[int] = []

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        got.append(bet.bet_id)

    async with bus.test() as t:
        receipt = await bus.publish("bet.placed", Bet(bet_id=1), key="ada")
        write_raw(t.broker, receipt, value)
        await bus.publish("bet.placed", Bet(bet_id=2), key="ada")
        await t.settle()

        (letter,) = t.dead_letters()
        assert letter.original_value() == value
        assert letter.attempts == 1
        assert got == [1, 2]


async def test_when_burying_fails_the_record_waits_its_partition_waits_and_status_says_why() -> None:
    bus = memory_bus()
    got: list[int] = []

    @bus.subscriber("bet.placed", retry=Retry(attempts=1))
    async def handle(bet: Bet) -> None:
        if bet.bet_id == 1:
            raise ValueError("poison")
        got.append(bet.bet_id)

    async with bus.test() as t:
        t.broker.refuse("convex.dlq", times=60)
        await bus.publish("bet.placed", Bet(bet_id=1), key="ada")
        await t.advance(11)

        assert "dlq_unavailable" in bus.status().problems
        held = [p for w in bus.status().workers for p in w.partitions if p.held]
        assert [p.held for p in held] == ["dlq_unavailable"]
        assert held[0].unfinished == 1
        assert held[0].committed == 0

        await bus.publish("bet.placed", Bet(bet_id=2), key="ada")
        await t.settle()
        assert got == [2]
        assert len(t.dead_letters()) == 1
        assert bus.status().problems == ()


async def test_a_dead_letter_that_cannot_be_handled_is_held_not_buried_again() -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        raise Reject("no")

    @bus.subscriber("dlq", retry=Retry(attempts=2, delay_seconds=1))
    async def review(letter: DeadLetterMessage) -> None:
        raise RuntimeError("the review tool is broken too")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        assert len(t.dead_letters()) == 1
        held = [p.held for w in bus.status().workers for p in w.partitions if p.held]
        assert held == ["dead_letter_held"]


async def test_one_key_keeps_its_order_while_it_fails_and_others_go_on() -> None:
    bus = memory_bus()
    order: list[tuple[str, int]] = []

    @bus.subscriber("bet.placed", retry=THRICE)
    async def handle(bet: Bet, delivery: Delivery) -> None:
        if bet.bet_id == 1 and delivery.attempt < 3:
            raise ConnectionError("not yet")
        order.append((bet.player, bet.bet_id))

    async with bus.test() as t:
        for n in (1, 2, 3):
            await bus.publish("bet.placed", Bet(bet_id=n), key="ada")
        other = [f"p{n}" for n in range(20)]
        for name in other:
            await bus.publish("bet.placed", Bet(bet_id=0, player=name), key=name)
        await t.settle()

    assert [bet_id for player, bet_id in order if player == "ada"] == [1, 2, 3]
    assert {player for player, _ in order[:20]} == set(other), "nobody waited for the failing key"


async def test_a_batch_is_handed_over_when_it_is_full_or_old_enough() -> None:
    bus = memory_bus()
    batches: list[list[int]] = []

    @bus.subscriber("bet.placed", batch=Batch(max_records=3, max_wait_seconds=2))
    async def handle(bets: list[Bet], deliveries: list[Delivery]) -> None:
        assert [d.offset for d in deliveries] == sorted(d.offset for d in deliveries)
        batches.append([bet.bet_id for bet in bets])

    async with bus.test() as t:
        for n in range(5):
            await bus.publish("bet.placed", Bet(bet_id=n), key="ada")
        await t.advance(1)
        assert batches == [[0, 1, 2]]
        await t.advance(2)
        assert batches == [[0, 1, 2], [3, 4]]


async def test_a_batch_that_fails_at_a_member_is_tried_again_from_there() -> None:
    bus = memory_bus()
    batches: list[list[int]] = []

    @bus.subscriber("bet.placed", batch=Batch(max_records=4, max_wait_seconds=1), retry=THRICE)
    async def handle(bets: list[Bet]) -> None:
        batches.append([bet.bet_id for bet in bets])
        if len(batches) == 1:
            raise BatchFailed(2)

    async with bus.test() as t:
        await bus.publish_many("bet.placed", [Bet(bet_id=n) for n in range(4)], key="ada")
        await t.settle()

        assert (batches, t.dead_letters()) == ([[0, 1, 2, 3], [2, 3]], [])


async def test_when_a_batchs_attempts_are_spent_only_the_member_that_fails_is_buried() -> None:
    bus = memory_bus()
    done: list[int] = []

    @bus.subscriber(
        "bet.placed", batch=Batch(max_records=4, max_wait_seconds=1), retry=Retry(attempts=2, delay_seconds=1)
    )
    async def handle(bets: list[Bet]) -> None:
        if any(bet.bet_id == 2 for bet in bets):
            raise ValueError("bet 2 is poison")
        done.extend(bet.bet_id for bet in bets)

    async with bus.test() as t:
        await bus.publish_many("bet.placed", [Bet(bet_id=n) for n in range(4)], key="ada")
        await t.settle()

        assert done == [0, 1, 3]
        assert [letter.original_message for letter in t.dead_letters()] == ['{"BetId":2,"Player":"ada"}']


async def test_members_that_cannot_be_decoded_are_buried_and_the_batch_goes_on_without_them() -> None:
    bus = memory_bus()
    batches: list[list[int]] = []

    @bus.subscriber("bet.placed", batch=Batch(max_records=3, max_wait_seconds=1))
    async def handle(bets: list[Bet]) -> None:
        batches.append([bet.bet_id for bet in bets])

    async with bus.test() as t:
        where = await bus.publish("bet.placed", Bet(bet_id=1), key="ada")
        write_raw(t.broker, where, b"{")
        await bus.publish("bet.placed", Bet(bet_id=3), key="ada")
        await t.settle()

        assert batches == [[1, 3]]
        assert [letter.original_value() for letter in t.dead_letters()] == [b"{"]


async def test_a_plain_function_runs_in_a_thread_of_the_bus() -> None:
    bus = memory_bus()
    threads: list[str] = []

    @bus.subscriber("bet.placed")
    def handle(bet: Bet) -> None:
        threads.append(threading.current_thread().name)

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

    assert len(threads) == 1
    assert threads[0] != threading.main_thread().name


async def test_dependencies_are_fastapis_and_a_failing_exit_is_a_failed_attempt() -> None:
    bus = memory_bus()
    trace: list[str] = []
    app = FastAPI()

    async def session(bus: Bus) -> AsyncIterator[str]:
        trace.append("open")
        yield "session"
        trace.append("commit")
        if trace.count("commit") == 1:
            raise ConnectionError("the commit failed")

    @bus.subscriber("bet.placed", retry=THRICE)
    async def handle(bet: Bet, db: Annotated[str, Depends(session)]) -> None:
        trace.append(db)

    async with bus.test(app) as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        assert trace == ["open", "session", "commit"] * 2
        assert t.dead_letters() == []


async def test_an_apps_overrides_reach_the_handlers() -> None:
    bus = memory_bus()
    app = FastAPI()
    got: list[str] = []

    def who() -> str:
        return "the real one"

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet, name: Annotated[str, Depends(who)]) -> None:
        got.append(name)

    app.dependency_overrides[who] = lambda: "a double"
    async with bus.test(app) as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

    assert got == ["a double"]


async def test_what_a_handler_publishes_carries_on_the_correlation_id() -> None:
    bus = memory_bus()
    ids: list[str | None] = []

    @bus.subscriber("bet.placed")
    async def first(bet: Bet, bus: Bus) -> None:
        await bus.publish("bet.noted", bet)

    @bus.subscriber("bet.noted")
    async def second(bet: Bet, delivery: Delivery) -> None:
        ids.append(delivery.correlation_id)

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1), correlation_id="order-66")
        await t.settle()

    assert ids == ["order-66"]


async def test_context_variables_that_a_handler_sets_do_not_reach_the_next_message() -> None:
    bus = memory_bus()
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []

    @bus.subscriber("bet.placed", concurrency=1)
    async def handle(bet: Bet) -> None:
        seen.append(tenant.get())
        tenant.set(bet.player)

    async with bus.test() as t:
        for n in range(3):
            await bus.publish("bet.placed", Bet(bet_id=n), key="ada")
        await t.settle()

    assert seen == ["nobody"] * 3


async def test_context_variables_of_whoever_adds_a_handler_do_not_reach_its_messages() -> None:
    bus = memory_bus()
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []

    async def handle(bet: Bet) -> None:
        seen.append(tenant.get())

    async with bus.test() as t:
        tenant.set("the request that added it")
        await bus.subscribe("bet.placed", handle)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

    assert seen == ["nobody"]


async def test_a_handler_joins_and_leaves_while_the_bus_runs() -> None:
    bus = memory_bus()
    got: list[int] = []

    async def handle(bet: Bet) -> None:
        got.append(bet.bet_id)

    async with bus.test() as t:
        id = await bus.subscribe("bet.placed", handle)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

        assert await bus.unsubscribe(id) is True
        await bus.publish("bet.placed", Bet(bet_id=2))
        await t.settle()

        assert got == [1]
        assert await bus.unsubscribe(id) is False


async def test_a_second_handler_of_a_topic_that_is_read_joins_without_a_rebalance() -> None:
    bus = memory_bus()
    got: list[str] = []

    @bus.subscriber("bet.placed")
    async def first(bet: Bet) -> None:
        got.append(f"first {bet.bet_id}")

    async def second(bet: Bet) -> None:
        got.append(f"second {bet.bet_id}")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()
        await bus.subscribe("bet.placed", second)
        await bus.publish("bet.placed", Bet(bet_id=2))
        await t.settle()

        assert sorted(got) == ["first 1", "first 2", "second 2"]
        assert bus.status().workers[0].revision == 1


async def test_a_topic_that_is_new_to_the_group_rebuilds_the_consumer_and_loses_nothing() -> None:
    bus = memory_bus()
    got: list[int] = []

    async def handle(bet: Bet) -> None:
        got.append(bet.bet_id)

    bus.subscriber("bet.placed")(handle)
    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        joining = asyncio.create_task(bus.subscribe("bet.won", handle))
        await bus.publish("bet.placed", Bet(bet_id=2))
        await bus.publish("bet.won", Bet(bet_id=3))
        await joining
        await t.settle()

    assert sorted(got) == [1, 2, 3]


async def test_handlers_of_a_module_that_does_not_know_the_bus_are_included() -> None:
    bus = memory_bus()
    subscribers = Subscribers()
    got: list[Any] = []

    @subscribers.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        got.append(bet.bet_id)

    @subscribers.receiver("payments")
    async def pay(bet: Bet) -> None:
        got.append("paid")

    bus.include(subscribers)
    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await bus.send("payments", Bet(bet_id=1))
        await t.settle()

    assert set(got) == {1, "paid"}


async def test_a_decorator_on_a_running_bus_points_to_subscribe() -> None:
    bus = memory_bus()
    async with bus.test():
        with pytest.raises(BusStateError, match=r"await bus\.subscribe"):
            bus.subscriber("t")(_ignore)


def test_a_handler_that_asks_for_what_no_message_has_is_refused_when_it_is_declared() -> None:
    bus = memory_bus()

    with pytest.raises(DeclarationError):

        @bus.subscriber("t")
        async def handle(bet: Bet, page: int) -> None: ...


async def test_the_default_group_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory_bus(consumer_group="convex-group")
    bus.subscriber("a")(_ignore)
    bus.subscriber("b")(_ignore)
    async with bus.test():
        warnings = [r for r in caplog.records if "default consumer group" in r.getMessage()]

    assert len(warnings) == 1
    assert "KAFKA_CONSUMER_GROUP" in warnings[0].getMessage()


async def _ignore(message: dict[str, Any]) -> None:
    """A handler that does nothing."""


def bus_with(bus: Any, topic: str, attempts: Any, **choices: Any) -> Any:
    """The bench of a bus whose one handler notes each attempt and fails."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def running() -> AsyncIterator[Any]:
        async with bus.test() as t:

            async def handle(bet: Bet, delivery: Delivery) -> None:
                attempts().append((delivery.attempt, t.clock.now()))
                raise LookupError("out of order")

            await bus.subscribe(topic, handle, **choices)
            yield t

    return running()


def write_raw(broker: MemoryBroker, beside: Receipt, value: bytes | None) -> None:
    """Append bytes that no bus of ours would write, under the key `ada`."""
    broker.append(TopicPartition(beside.topic, beside.partition), [OutgoingRecord(b"ada", value)])


class Shipped(ConvexMessage, message_type="OrderShipped"):
    order_id: int
    note: str = ""


class Cancelled(ConvexMessage):
    order_id: int
    note: str = ""


@pytest.mark.parametrize(
    "batch", [None, Batch(max_records=3, max_wait_seconds=0.1)], ids=["one by one", "batch"]
)
async def test_of_several_kinds_on_one_topic_each_comes_as_what_it_is(batch: Batch | None) -> None:
    bus = memory_bus()
    got: list[Any] = []

    async def one(event: Shipped | Cancelled) -> None:
        got.append(event)

    async def many(events: list[Shipped | Cancelled]) -> None:
        got.extend(events)

    bus.subscriber("orders", batch=batch, ordering="partition")(many if batch else one)
    sent = [Cancelled(order_id=1), Shipped(order_id=2), Cancelled(order_id=3, note="x" * 300_000)]
    async with bus.test() as t:
        for event in sent:
            await bus.publish("orders", event, key="k")
        await bus.publish("orders", Bet(bet_id=1), key="k")
        await t.settle()
        assert "OrderShipped, Cancelled" in t.dead_letters()[0].error_message
    assert got == sent


@pytest.mark.parametrize("annotation", [Any, object, Any | None, Bet | None], ids=str)
async def test_a_tombstone_is_none_for_whoever_takes_anything(annotation: Any) -> None:
    bus = memory_bus()
    got: list[Any] = []

    async def handle(event: Any) -> None:
        got.append(event)

    handle.__annotations__["event"] = annotation
    bus.subscriber("bet.placed")(handle)
    async with bus.test() as t:
        await bus.tombstone("bet.placed", key="k")
        await t.settle()
        assert t.dead_letters() == []
    assert got == [None]
