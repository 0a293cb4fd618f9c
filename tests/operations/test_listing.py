"""Letters in pages, newest first, in groups, each with what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from convex_messaging_fastapi import (
    ConfigurationError,
    LetterNotFound,
    LettersUnavailable,
    MessagingError,
    MessagingSettings,
    TransportError,
)
from convex_messaging_fastapi.messages.copies import JOB, LETTER
from convex_messaging_fastapi.operations import Filter, Letter, LetterState, Operations
from convex_messaging_fastapi.operations.scanning import FOR_LISTINGS
from convex_messaging_fastapi.operations.states import Copy, forgotten
from convex_messaging_fastapi.operations.values import KeptState, LetterPlace, StateChange
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition, utc
from tests.operations.support import AT, FAILURE, STATES, Desk, a_letter, again, dotnet, original

REPLAY = "convex.payments.replay"
DAY_MS = 24 * 3600 * 1000


def change(state: KeptState, job: str | None = "j-1") -> StateChange:
    return StateChange(state, AT, "ada", job=job)


def ids(letters: Sequence[Letter]) -> list[str]:
    return [letter.id for letter in letters]


async def states_of(desk: Desk) -> dict[str, LetterState]:
    return {letter.id: letter.state for letter in await desk.listed(state="all")}


async def test_nothing_is_listed_where_nothing_was_ever_buried() -> None:
    desk = Desk()
    page = await desk.operations.dead_letters()
    assert (page.groups, page.letters, page.matched, page.scanned) == ((), (), 0, 0)
    assert (page.next, page.truncated, page.states_known) == (None, "", True)


class TestPages:
    """Each letter is on one page."""

    async def test_letters_come_newest_first_over_all_partitions(self) -> None:
        desk = Desk(partitions=2)
        for offset in range(4):
            desk.write(a_letter(original(offset)), partition=offset % 2)
        page = await desk.operations.dead_letters()
        assert ids(page.letters) == ["1/1", "0/1", "1/0", "0/0"]
        assert (page.matched, page.scanned, page.next) == (4, 4, None)

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
    async def test_the_next_page_goes_on_where_one_ends(self, limit: int) -> None:
        desk = Desk()
        desk.write(*(a_letter(original(offset)) for offset in range(3)))
        desk.write(*(a_letter(original(offset)) for offset in range(3, 5)))
        seen: list[str] = []
        after: str | None = None
        while True:
            page = await desk.operations.dead_letters(limit=limit, after=after)
            assert page.matched == 5
            seen += ids(page.letters)
            if (after := page.next) is None:
                break
            assert len(page.letters) == limit
        assert seen == ["0/4", "0/3", "0/2", "0/1", "0/0"]

    async def test_no_letters_may_be_asked_for(self) -> None:
        desk = Desk()
        desk.write(a_letter())
        page = await desk.operations.dead_letters(limit=0)
        assert (page.letters, len(page.groups), page.next) == ((), 1, None)

    @pytest.mark.parametrize("limit", [-1, 1001, True, "5", None])
    async def test_a_limit_that_is_none_is_refused(self, limit: Any) -> None:
        with pytest.raises(ConfigurationError, match="limit is a whole number from 0 to 1000"):
            await Desk().operations.dead_letters(limit=limit)

    @pytest.mark.parametrize("after", ["", "0/1", "x:0/1", 7, "1:0", "1:/0/1"])
    async def test_a_cursor_that_is_none_is_refused(self, after: Any) -> None:
        with pytest.raises(ConfigurationError, match="after is the `next` of the page before"):
            await Desk().operations.dead_letters(after=after)


class TestGroups:
    """Letters that failed alike are one line, with what became of each."""

    async def test_a_group_says_how_many_are_in_each_state(self) -> None:
        desk = Desk()
        first, second, *_ = desk.write(*(a_letter(original(offset)) for offset in range(3)))
        desk.write(
            a_letter(original(9), replace(FAILURE, text="another card", frame="app/payments.py:97 in charge"))
        )
        desk.keep(first, change("discarded"))
        desk.keep(second, change("replayed"))
        (group,) = (await desk.operations.dead_letters()).groups
        assert group.counts == {"open": 2, "replayed": 1, "discarded": 1}
        assert (group.total, group.failed_again) == (4, 0)
        assert (group.topic, group.group, group.handler) == ("convex.payments", "payments", "app.pay")
        assert (group.exception_type, group.frame) == ("app.CardRefused", "app/payments.py:97 in charge")
        assert (group.error, group.sample) == ("another card", "0/3")
        assert (group.first, group.last) == (AT, AT)

    async def test_a_group_with_nothing_that_is_meant_is_left_out(self) -> None:
        desk = Desk()
        (place,) = desk.write(a_letter())
        desk.write(a_letter(failure=replace(FAILURE, handler="app.other")))
        desk.keep(place, change("discarded"))
        assert [group.handler for group in (await desk.operations.dead_letters()).groups] == ["app.other"]

    async def test_the_sample_is_an_open_one_where_there_is_one(self) -> None:
        desk = Desk()
        desk.write(a_letter(original(1)))
        (newer,) = desk.write(a_letter(original(2)))
        desk.keep(newer, change("discarded"))
        (group,) = (await desk.operations.dead_letters()).groups
        assert group.sample == "0/0"

    async def test_names_that_all_differ_are_one_group_from_some_number_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("convex_messaging_fastapi.operations.found.MAX_GROUPS", 3)
        desk = Desk()
        desk.write(*(a_letter(original(n), replace(FAILURE, handler=f"h{n}")) for n in range(10)))
        groups = (await desk.operations.dead_letters()).groups
        assert sorted((group.handler, group.total) for group in groups) == [
            ("(others)", 7),
            ("h0", 1),
            ("h1", 1),
            ("h2", 1),
        ]


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["0/3", "0/2", "0/1", "0/0"]),
    ({"topic": "payments"}, ["0/1", "0/0"]),
    ({"topic": "convex.payments"}, ["0/1", "0/0"]),
    ({"topic": "pay"}, []),
    ({"topic": "not a topic!"}, []),
    ({"group": "payments"}, ["0/2", "0/1", "0/0"]),
    ({"group": "-"}, ["0/3"]),
    ({"handler": "app.ship"}, ["0/2"]),
    ({"handler": "-"}, ["0/3"]),
    ({"exception": "CardRefused"}, ["0/1", "0/0"]),
    ({"exception": "app.CardRefused"}, ["0/1", "0/0"]),
    ({"exception": "Refused"}, []),
    ({"text": "CARD REF"}, ["0/3", "0/1", "0/0"]),
    ({"text": "no stock"}, ["0/2"]),
    ({"text": "ünlü"}, ["0/1"]),
    ({"text": "user-9"}, ["0/2"]),
    ({"text": "nowhere"}, []),
    ({"since": AT}, ["0/3", "0/2", "0/1", "0/0"]),
    ({"since": AT + timedelta(microseconds=1000)}, ["0/3"]),
    ({"until": AT}, []),
    ({"until": AT + timedelta(seconds=1)}, ["0/3", "0/2", "0/1", "0/0"]),
    ({"min_replays": 1}, ["0/1"]),
    ({"min_replays": 2}, []),
    ({"ids": ("0/0", "0/2")}, ["0/2", "0/0"]),
    ({"ids": ("convex.dlq/0/3", "0/99", "1/0")}, ["0/3"]),
    ({"ids": ("0/0", "0/2"), "handler": "app.ship"}, ["0/2"]),
    ({"group_id": "0123456789"}, []),
]


@pytest.mark.parametrize(("wanted", "found"), FILTERS, ids=str)
async def test_a_filter_means_those_that_pass_every_field(wanted: dict[str, Any], found: list[str]) -> None:
    desk = Desk()
    second = original(2, value='{"Name":"ÜNLÜ"}'.encode(), headers=again("j-9", "convex.dlq/0/0"))
    shipping = replace(FAILURE, handler="app.ship", text="no stock", exception_type="app.NoStock")
    desk.write(
        a_letter(original(1)),
        a_letter(second),
        a_letter(original(3, topic="convex.orders", key=b"User-9"), shipping),
        dotnet(OriginalTopic="convex.other"),
    )
    assert ids(await desk.listed(**wanted)) == found


async def test_the_id_of_a_group_is_a_filter_too() -> None:
    desk = Desk()
    desk.write(a_letter(), a_letter(original(2), replace(FAILURE, handler="app.ship")))
    for group in (await desk.operations.dead_letters()).groups:
        assert ids(await desk.listed(group_id=group.id)) == [group.sample]


class TestStates:
    """What became of a letter is told by what operators did, and by what came after."""

    async def test_a_letter_is_open_until_somebody_acts_and_after_it_is_opened_again(self) -> None:
        desk = Desk()
        places = desk.write(*(a_letter(original(offset)) for offset in range(3)))
        desk.keep(places[1], change("discarded"))
        desk.keep(places[2], change("discarded"), change("open"))
        assert await states_of(desk) == {"0/0": "open", "0/1": "discarded", "0/2": "open"}
        assert ids(await desk.listed()) == ["0/2", "0/0"]

    async def test_null_says_that_the_letter_is_gone_so_a_letter_that_is_there_is_open(self) -> None:
        desk = Desk()
        (place,) = desk.write(a_letter())
        desk.keep(place, change("discarded"))
        desk.put(forgotten(place))
        assert await states_of(desk) == {"0/0": "open"}

    async def test_a_state_of_another_letter_at_the_same_place_does_not_count(self) -> None:
        """The topic was deleted and made anew."""
        desk = Desk()
        (place,) = desk.write(a_letter())
        desk.keep(place._replace(timestamp_ms=place.timestamp_ms - 1), change("discarded"))
        desk.keep(place._replace(topic="convex.other"), change("discarded"))
        assert await states_of(desk) == {"0/0": "open"}

    @pytest.mark.parametrize(
        ("committed", "state"), [(None, "waiting"), (7, "waiting"), (8, "replayed"), (99, "replayed")]
    )
    async def test_a_copy_that_its_group_has_not_committed_past_is_waiting(
        self, committed: int | None, state: LetterState
    ) -> None:
        desk = Desk()
        (place,) = desk.write(a_letter())
        desk.keep(place, change("replayed"), copy=Copy("payments", REPLAY, 1, 7))
        if committed is not None:
            desk.commit("payments", TopicPartition(REPLAY, 1), committed)
        desk.commit("payments", TopicPartition(REPLAY, 0), 99)
        desk.commit("others", TopicPartition(REPLAY, 1), 99)
        assert await states_of(desk) == {"0/0": state}

    async def test_a_letter_that_was_replayed_to_its_topic_waits_for_nobody(self) -> None:
        desk = Desk()
        (place,) = desk.write(a_letter())
        desk.keep(place, change("replayed"), copy=Copy("-", "convex.payments", 1, 7))
        assert await states_of(desk) == {"0/0": "replayed"}

    async def test_a_replay_that_failed_is_linked_with_the_letter_about_it(self) -> None:
        desk = Desk()
        (place,) = desk.write(a_letter())
        desk.keep(place, change("replayed", job="j-1"), copy=Copy("payments", REPLAY, 0, 7))
        desk.commit("payments", TopicPartition(REPLAY, 0), 8)
        desk.write(a_letter(original(headers=again("j-1", "convex.dlq/0/0"))))
        assert await states_of(desk) == {"0/0": "failed_again", "0/1": "open"}
        first, second = await desk.operations.dead_letter("0/0"), await desk.operations.dead_letter("0/1")
        assert (first.failed_as, first.replay_of) == ("0/1", None)
        assert (second.failed_as, second.replay_of, second.replay_count) == (None, "0/0", 1)
        (group,) = (await desk.operations.dead_letters(Filter(state="all"))).groups
        assert (group.failed_again, group.counts) == (1, {"open": 1, "failed_again": 1})

    @pytest.mark.parametrize(
        "headers",
        [
            again("another", "convex.dlq/0/0"),
            again("j-1", "convex.dlq/0/9"),
            again("j-1", "convex.dlq/0/0", count=0),
            again("j-1", "x" * 10_000),
            (("x-convex-replay-count", b"1"), (LETTER, b"convex.dlq/0/0")),
            (
                ("x-convex-replay-count", b"1"),
                (LETTER, b"\xff"),
                (JOB, None),
            ),
        ],
        ids=str,
    )
    async def test_replay_headers_that_are_forged_change_no_other_letters_state(self, headers: Any) -> None:
        desk = Desk()
        (place,) = desk.write(a_letter())
        desk.keep(place, change("replayed", job="j-1"))
        desk.write(a_letter(original(7, headers=headers)))
        assert await states_of(desk) == {"0/0": "replayed", "0/1": "open"}

    @pytest.mark.parametrize("value", [b"{", b'{"V":2}', b"\xff", b"[]"])
    async def test_a_state_that_this_release_cannot_read_is_unknown_and_not_open(self, value: bytes) -> None:
        desk = Desk()
        desk.write(a_letter())
        desk.put(OutgoingRecord(b"letter/convex.dlq/0/0", value))
        assert await states_of(desk) == {"0/0": "unknown"}
        assert await desk.listed() == []

    async def test_what_else_stands_in_the_state_topic_is_passed_over(self) -> None:
        desk = Desk()
        desk.write(a_letter())
        for key in (None, b"", b"job/7", b"letter/convex.dlq/0/x", b"letter/\xff/0/0"):
            desk.put(OutgoingRecord(key, b"{}"))
        assert await states_of(desk) == {"0/0": "open"}

    async def test_the_whole_letter_tells_its_last_changes(self) -> None:
        desk = Desk()
        (place,) = desk.write(a_letter())
        changes = (change("discarded"), change("open", job=None))
        desk.keep(place, change("replayed"))
        desk.keep(place, *changes)
        assert (await desk.operations.dead_letter("0/0")).history == changes
        (listed,) = await desk.listed()
        assert listed.history == changes

    async def test_states_that_cannot_be_read_are_unknown_and_letters_are_listed_still(self) -> None:
        desk = Desk()
        (place,) = desk.write(a_letter())
        desk.keep(place, change("discarded"))
        refusing = Refusing(desk.parts.transport, STATES)
        operations = Operations(replace(desk.parts, transport=refusing))
        page = await operations.dead_letters()
        assert (page.states_known, page.matched) == (False, 1)
        assert page.states_problem == "no right to read convex.dlq.state"
        assert [letter.state for letter in page.letters] == ["unknown"]
        assert page.groups[0].counts == {"unknown": 1}

    @pytest.mark.parametrize("after", [0, 1], ids=["at once", "amid it"])
    async def test_who_acts_on_letters_is_told_what_the_cluster_said_of_states(self, after: int) -> None:
        desk = Desk()
        desk.write(a_letter())
        refusing = Refusing(desk.parts.transport, STATES, after=after)
        operations = Operations(replace(desk.parts, transport=refusing))
        with pytest.raises(MessagingError) as refused:
            await operations.discard(Filter(), by="ada", reason="seen to", dry_run=False)
        said: BaseException | None = refused.value
        while said is not None and getattr(said, "problem", "") != "not_authorized":
            said = said.__cause__
        assert str(said) == "no right to read convex.dlq.state"


class Refusing:
    """A transport whose log reader may not read one topic."""

    def __init__(self, transport: Any, topic: str, *, after: int = 0) -> None:
        self._transport, self._reader, self._topic = transport, transport.log_reader(), topic
        self._answers_left = after

    def log_reader(self, *, uncommitted: bool = False, few: bool = False) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader if hasattr(self._reader, name) else self._transport, name)

    async def ranges(self, topic: str) -> Any:
        if topic == self._topic:
            if self._answers_left == 0:
                raise TransportError(f"no right to read {topic}", "not_authorized")
            self._answers_left -= 1
        return await self._reader.ranges(topic)


class TestDuplicates:
    """A letter is written at least once, and is one letter."""

    async def test_the_lowest_offset_stands_for_all_of_them(self) -> None:
        desk = Desk(partitions=2)
        places = [desk.write(a_letter(), partition=partition)[0] for partition in (1, 0, 1)]
        desk.write(a_letter(original(42)), partition=1)
        letters = await desk.listed()
        assert ids(letters) == ["1/2", "0/0"]
        assert letters[1].written == 3
        assert letters[1].duplicates == (places[0], places[2])
        (group,) = (await desk.operations.dead_letters()).groups
        assert group.counts == {"open": 2}

    async def test_its_state_is_that_of_all_of_them(self) -> None:
        desk = Desk()
        first, second = desk.write(a_letter(), a_letter())
        desk.keep(first, change("discarded"))
        assert await states_of(desk) == {"0/0": "discarded"}
        duplicate = await desk.operations.dead_letter("0/1")
        assert (duplicate.state, duplicate.duplicates, duplicate.written) == ("discarded", (first,), 2)
        assert second == duplicate.place

    async def test_the_letter_of_a_second_failure_is_another_whatever_its_id(self) -> None:
        """Releases before this one gave both the same."""
        desk = Desk()
        first, second = a_letter(), a_letter(original(headers=again("j-1", "convex.dlq/0/0")))
        desk.write(first, second._replace(headers=first.headers))
        assert [letter.written for letter in await desk.listed()] == [1, 1]

    async def test_letters_without_an_id_are_each_one(self) -> None:
        desk = Desk()
        bare = dotnet()._replace(headers=())
        desk.write(bare, bare, dotnet(), dotnet())
        assert len(await desk.listed()) == 4

    async def test_letters_of_other_software_have_the_id_of_the_message_and_are_each_one(
        self,
    ) -> None:
        headers = (("message-id", b"m-1"), ("dead-letter-topic", b"orders"), ("dead-letter-reason", b"no"))
        desk = Desk(dead_letter_topics="orders-dlt")
        desk.write(*[OutgoingRecord(b"k", b"v", headers)] * 2, topic="orders-dlt")
        assert len(await desk.listed()) == 2


class TestExpiry:
    """What retention may remove is told before it does."""

    def operations(self, desk: Desk, retention_ms: int | None) -> Operations:
        class Admin:
            async def retention_ms(self, topic: str) -> int | None:
                return retention_ms

        return Operations(replace(desk.parts, admin=Admin()))  # type: ignore[arg-type]

    async def test_a_letter_says_when_it_may_go(self) -> None:
        desk = Desk()
        (place,) = desk.write(a_letter())
        page = await self.operations(desk, 7 * DAY_MS).dead_letters()
        assert page.letters[0].expires_at == utc(place.timestamp_ms + 7 * DAY_MS)
        assert page.groups[0].expires_at == page.letters[0].expires_at

    @pytest.mark.parametrize("retention_ms", [None, -1])
    async def test_where_that_is_never_or_not_known_none_expires_soon(self, retention_ms: int | None) -> None:
        desk = Desk()
        desk.write(a_letter())
        operations = self.operations(desk, retention_ms)
        assert (await operations.dead_letters()).letters[0].expires_at is None
        assert (await operations.dead_letters(Filter(state="expires_soon"))).matched == 0

    async def test_those_that_go_within_a_day_and_are_open_expire_soon(self) -> None:
        desk = Desk()
        done, old = desk.write(a_letter(original(1)), a_letter(original(2)))
        desk.keep(done, change("discarded"))
        desk.clock.advance(2 * DAY_MS / 1000)
        desk.write(a_letter(original(3)))
        page = await self.operations(desk, 5 * DAY_MS // 2).dead_letters(Filter(state="expires_soon"))
        assert [letter.place for letter in page.letters] == [old]


async def test_letters_of_all_topics_that_are_named_are_listed() -> None:
    desk = Desk(dead_letter_topics=" orders-dlt, convex.old.dlq ")
    desk.write(a_letter(original(1)))
    desk.write(OutgoingRecord(b"k", b"v", (("dead-letter-topic", b"orders"),)), topic="orders-dlt")
    desk.write(a_letter(original(2)), topic="convex.old.dlq")
    assert ids(await desk.listed()) == ["convex.old.dlq/0/0", "orders-dlt/0/0", "0/0"]
    foreign = await desk.operations.dead_letter("orders-dlt/0/0")
    assert (foreign.kind, foreign.value) == ("smallrye", b"v")
    assert ids(await desk.listed(ids=("orders-dlt/0/0",))) == ["orders-dlt/0/0"]


async def test_a_topic_that_is_named_and_missing_holds_nothing() -> None:
    desk = Desk(dead_letter_topics="orders-dlt")
    desk.broker._topics.pop("orders-dlt")
    desk.write(a_letter())
    assert ids(await desk.listed()) == ["0/0"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("", ()),
        ("orders-dlt", ("orders-dlt",)),
        (" a , b,,a ", ("a", "b")),
        (["a", "b"], ("a", "b")),
        (("a",), ("a",)),
    ],
    ids=str,
)
def test_topics_are_named_with_commas_between_or_as_a_list(given: Any, named: tuple[str, ...]) -> None:
    assert MessagingSettings(dead_letter_topics=given).further_dead_letter_topics == named


@pytest.mark.parametrize("given", ["no topic", "a;b", "a/b", ["a", 7], "x" * 250])
def test_what_is_no_name_of_a_topic_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="dead_letter_topics"):
        MessagingSettings(dead_letter_topics=given)


class TestOneLetter:
    """It is shown whole, or the answer says why not."""

    @pytest.mark.parametrize("id", ["0/1", "1/0", "other/0/0", "0/9223372036854775807"])
    async def test_one_that_is_not_there_is_not_found(self, id: str) -> None:
        desk = Desk()
        desk.write(a_letter())
        with pytest.raises(LetterNotFound, match=f"there is no dead letter {id}"):
            await desk.operations.dead_letter(id)

    @pytest.mark.parametrize("id", ["", "0", "a/b/0/1", "0/-1", 7, None])
    async def test_what_is_no_id_is_refused(self, id: Any) -> None:
        with pytest.raises(ConfigurationError, match="the id of a letter is such as '2/517'"):
            await Desk().operations.dead_letter(id)

    async def test_one_that_was_written_since_the_latest_list_is_found(self) -> None:
        desk = Desk()
        desk.write(a_letter(original(0)))
        await desk.operations.dead_letters()
        desk.write(a_letter(original(1)))
        assert (await desk.operations.dead_letter("0/1")).origin.offset == 1

    async def test_one_that_no_list_reaches_is_found_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        few = replace(FOR_LISTINGS, letters=2)
        monkeypatch.setattr("convex_messaging_fastapi.operations.scanning.FOR_LISTINGS", few)
        desk = Desk()
        (place, *_) = desk.write(*(a_letter(original(offset)) for offset in range(5)))
        desk.keep(place, change("discarded"))
        page = await desk.operations.dead_letters()
        assert page.truncated == "the newest 2 of 5 letters were looked at"
        assert ids(page.letters) == ["0/4", "0/3"]
        assert (await desk.operations.dead_letter("0/0")).state == "discarded"


async def test_a_cluster_that_is_away_is_told_with_the_right_that_is_needed() -> None:
    desk = Desk()
    desk.write(a_letter())
    desk.broker.down()
    with pytest.raises(LettersUnavailable, match=r"the memory broker is down.*needs Read on convex\.dlq"):
        await desk.operations.dead_letters()


def test_a_place_is_what_replay_and_states_speak_of() -> None:
    assert LetterPlace("convex.dlq", 2, 517, 1)[:3] == ("convex.dlq", 2, 517)
