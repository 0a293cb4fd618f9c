"""On the bench of `bus.test()` a user sees what is left to be done."""

from __future__ import annotations

from convex_messaging_fastapi.operations import Filter, StateChange
from convex_messaging_fastapi.operations.states import StateOfLetter, record_of
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic
from tests.bus.support import Bet, memory_bus
from tests.operations.support import AT, STATES


async def test_letters_about_which_nothing_was_done_are_open() -> None:
    bus = memory_bus(max_retry_attempts=1)

    @bus.subscriber("bets", id="pay")
    async def pay(bet: Bet) -> None:
        raise ValueError(bet.player)

    async with bus.test() as t:
        for player in ("ada", "bob"):
            await bus.publish("bets", Bet(bet_id=1, player=player))
        await t.settle()
        assert len(t.dead_letters(open=True)) == 2
        (about_ada,) = (await bus.operations.dead_letters(Filter(text="ada"))).letters
        t.broker.ensure(NewTopic(STATES, 1))
        state = StateOfLetter(about_ada.place, (StateChange("discarded", AT, "test"),))
        t.broker.append(TopicPartition(STATES, 0), [record_of(state)])
        assert [letter.error_message for letter in t.dead_letters(open=True)] == ["bob"]
        assert [letter.error_message for letter in t.dead_letters()] == ["ada", "bob"]
        assert t.dead_letters()[0].frame is not None
        assert t.dead_letters()[0].frame.endswith("in pay")  # type: ignore[union-attr]


async def test_a_letter_that_was_written_twice_is_open_once() -> None:
    bus = memory_bus(max_retry_attempts=1)

    @bus.subscriber("bets", id="pay")
    async def pay(bet: Bet) -> None:
        raise ValueError

    async with bus.test() as t:
        await bus.publish("bets", Bet(bet_id=1))
        await t.settle()
        (written,) = t.records("dlq")
        t.broker.append(written.topic_partition, [OutgoingRecord(*written[4:])])
        assert (len(t.dead_letters()), len(t.dead_letters(open=True))) == (2, 1)


async def test_what_failed_is_replayed_once_it_is_mended() -> None:
    bus = memory_bus(max_retry_attempts=1)
    mended = False

    @bus.subscriber("bets", id="pay")
    async def pay(bet: Bet) -> None:
        if not mended:
            raise ValueError(bet.player)

    @bus.subscriber("bets", id="count")
    async def count(bet: Bet) -> None: ...

    async with bus.test() as t:
        for player in ("ada", "bob"):
            await bus.publish("bets", Bet(bet_id=1, player=player))
        await t.settle()
        mended = True
        job = await t.replay()
        assert (job.status, job.selected, job.done) == ("done", 2, 2)
        assert sorted(bet.player for bet in t.handled(pay)) == ["ada", "bob"]
        assert len(t.handled(count)) == 2, "a sibling sees nothing of it"
        assert t.dead_letters(open=True) == []


async def test_what_fails_again_is_a_letter_that_counts_its_replays() -> None:
    bus = memory_bus(max_retry_attempts=1)

    @bus.subscriber("bets", id="pay")
    async def pay(bet: Bet) -> None:
        raise ValueError

    async with bus.test() as t:
        await bus.publish("bets", Bet(bet_id=1))
        await t.settle()
        for replays in (1, 2, 3):
            assert (await t.replay()).done == 1
            assert [letter.replay_count for letter in t.dead_letters(open=True)] == [replays]
        refused = await t.replay()
        assert (refused.done, refused.refused) == (0, {"too_many_replays": 1})


async def test_a_filter_says_which_letters_are_replayed() -> None:
    bus = memory_bus(max_retry_attempts=1)

    @bus.subscriber("bets", id="pay")
    async def pay(bet: Bet) -> None:
        raise ValueError(bet.player)

    async with bus.test() as t:
        for player in ("ada", "bob"):
            await bus.publish("bets", Bet(bet_id=1, player=player))
        await t.settle()
        assert (await t.replay(Filter(text="ada"))).done == 1
        assert sorted(letter.error_message for letter in t.dead_letters(open=True)) == ["ada", "bob"]
        assert (await t.replay(Filter(text="nobody"))).selected == 0
