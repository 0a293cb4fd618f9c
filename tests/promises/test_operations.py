"""What operators see of dead letters is the same on memory and on a real Kafka."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.messages import codec_for
from convex_messaging_fastapi.operations import Filter, KnownHandler, Letter, Operations, StateChange
from convex_messaging_fastapi.operations.states import Copy, StateOfLetter, forgotten, record_of
from convex_messaging_fastapi.operations.values import LetterPlace
from convex_messaging_fastapi.parts import parts_for, transport_for
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from tests.operations.letters.test_foreign import CONNECT, SMALLRYE, SPRING
from tests.operations.support import a_letter, dotnet, original
from tests.promises.fleet import Bet, Fleet, Heard
from tests.support.waiting import eventually

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def operations_without_a_bus(fleet: Fleet, *handlers: KnownHandler, **settings: Any) -> Operations:
    """As a command line has them: nothing but the settings, and the handlers of an app if it has one."""
    chosen, clock = fleet.settings(**settings), SystemClock()
    return Operations(parts_for(chosen, transport_for(chosen, clock), clock), lambda: handlers)


async def dlq(fleet: Fleet, *letters: OutgoingRecord) -> list[LetterPlace]:
    """Letters in a dead-letter topic of two partitions, by turns; and where they stand."""
    topic = await fleet.topic("dlq", partitions=2)
    await fleet.topic("dlq.state", partitions=1, config={"cleanup.policy": "compact"})
    for number, letter in enumerate(letters):
        await fleet.witness.write(TopicPartition(topic, number % 2), letter)
    records = await fleet.records("dlq")
    return [LetterPlace(r.topic, r.partition, r.offset, r.timestamp_ms) for r in sorted(records)]


async def keep(fleet: Fleet, state: StateOfLetter) -> None:
    await fleet.witness.write(TopicPartition(fleet.on_wire("dlq.state"), 0), record_of(state))


async def listed(fleet: Fleet, **wanted: Any) -> dict[str, Letter]:
    page = await operations_without_a_bus(fleet).dead_letters(Filter(**wanted))
    return {letter.id: letter for letter in page.letters}


async def test_what_a_bus_buries_is_listed_in_groups_shown_whole_and_validated(fleet: Fleet) -> None:
    await fleet.topic("bets")
    bus = fleet.bus(max_retry_attempts=1)
    declared(bus)
    async with bus:
        for number in range(6):
            await bus.publish("bets", Bet(bet_id=number), key=str(number))
        await bus.publish("bets", {"BetId": "x"}, key="7")
        await eventually(lambda: bus.status().workers[0].subscriptions[0].buried == 7, 30, "seven letters")
        page = await bus.operations.dead_letters(limit=5)
        rest = await bus.operations.dead_letters(limit=5, after=page.next)
        assert (page.matched, len(page.letters), len(rest.letters), rest.next) == (7, 5, 2, None)
        assert {letter.id for letter in (*page.letters, *rest.letters)} == {
            f"{record.partition}/{record.offset}" for record in await fleet.records("dlq")
        }
        refused, raised = sorted(page.groups, key=lambda group: group.total)
        assert (refused.counts, refused.frame) == ({"open": 1}, "BetId")
        assert raised.counts == {"open": 6}
        assert raised.frame is not None
        assert raised.frame.endswith("in pay")
        whole = await bus.operations.dead_letter(page.letters[0].id)
        (record,) = [
            each
            for each in await fleet.records("bets")
            if (each.partition, each.offset) == (whole.origin.partition, whole.origin.offset)
        ]
        assert (whole.key, whole.value, whole.headers) == record[4:]
        validation = await bus.operations.validate()
        assert {each.verdict: each.count for each in validation.results} == {"accepted": 6, "refused": 1}
        exported = [each async for each in bus.operations.export(Filter(group_id=raised.id))]
        assert len(exported) == 6


def declared(bus: MessageBus) -> None:
    @bus.subscriber("bets", id="pay")
    async def pay(bet: Bet) -> None:
        raise ValueError("no money")


async def test_a_list_makes_no_topic_and_commits_nothing(fleet: Fleet) -> None:
    page = await operations_without_a_bus(fleet).dead_letters()
    assert (page.matched, page.states_known) == (0, True)
    for topic in ("dlq", "dlq.state"):
        assert fleet.witness.limit(fleet.on_wire(topic)) is None


async def test_what_operators_did_is_told_of_each_letter(fleet: Fleet) -> None:
    places = await dlq(fleet, *(a_letter(original(offset)) for offset in range(6)))
    change = StateChange("discarded", AT, "ada", reason="sold out")
    await keep(fleet, StateOfLetter(places[0], (change,)))
    await keep(fleet, StateOfLetter(places[1], (change, StateChange("open", AT, "bob"))))
    await keep(fleet, StateOfLetter(places[2]._replace(timestamp_ms=7), (change,)))
    await keep(fleet, StateOfLetter(places[3], (change,)))
    state_topic = fleet.on_wire("dlq.state")
    await fleet.witness.write(TopicPartition(state_topic, 0), forgotten(places[3]))
    await keep(
        fleet, StateOfLetter(places[4], (StateChange("replayed", AT, "ada", job="j"),), _copy(fleet, 0))
    )
    letters = await listed(fleet, state="all")
    assert {id: letter.state for id, letter in letters.items()} == {
        "0/0": "discarded",
        "0/1": "open",
        "0/2": "open",
        "1/0": "open",
        "1/1": "waiting",
        "1/2": "open",
    }
    assert letters["0/0"].history == (change,)


def _copy(fleet: Fleet, offset: int) -> Copy:
    return Copy(fleet.group, fleet.on_wire("replayed"), 0, offset)


async def test_a_copy_is_waited_for_until_its_group_has_committed_past_it(fleet: Fleet) -> None:
    (place,) = await dlq(fleet, a_letter())
    await fleet.topic("replayed", partitions=1)
    await keep(fleet, StateOfLetter(place, (StateChange("replayed", AT, "ada"),), _copy(fleet, 0)))
    assert (await listed(fleet, state="all"))["0/0"].state == "waiting"
    bus, heard = fleet.bus(), Heard[Any]()

    @bus.subscriber("replayed")
    async def handle(message: dict[str, Any]) -> None:
        heard.note(message)

    async with bus:
        await bus.publish("replayed", {"a": 1})
        await heard.until(1)
    assert (await listed(fleet, state="all"))["0/0"].state == "replayed"


async def test_a_letter_that_was_written_twice_is_one(fleet: Fleet) -> None:
    first, _ = await dlq(fleet, a_letter(), a_letter())
    letters = await listed(fleet)
    assert [(id, letter.written) for id, letter in letters.items()] == [("0/0", 2)]
    assert letters["0/0"].place == first


async def test_letters_of_other_software_are_listed_with_what_their_headers_tell(fleet: Fleet) -> None:
    topic = await fleet.topic("orders-dlt", partitions=1)
    where = TopicPartition(topic, 0)
    for headers in (SPRING, SMALLRYE, CONNECT):
        await fleet.witness.write(where, OutgoingRecord(b"key", b"\x00\xff", headers))
    await fleet.witness.write(where, dotnet())
    await fleet.witness.write(where, OutgoingRecord(None, b"{junk"))
    operations = operations_without_a_bus(fleet, dead_letter_topics=topic)
    page = await operations.dead_letters()
    assert [(letter.kind, letter.id) for letter in reversed(page.letters)] == [
        (kind, f"{topic}/0/{offset}")
        for offset, kind in enumerate(("spring", "smallrye", "connect", "dotnet", "unreadable"))
    ]
    spring = await operations.dead_letter(f"{topic}/0/0")
    assert (spring.origin[:3], spring.group) == (("orders", 2, 517), "billing")
    assert (spring.key, spring.value) == (b"key", b"\x00\xff")
    assert spring.headers == (("message-id", b"m-1"), ("tenant", b"acme"))


async def test_letters_of_other_software_are_validated_by_the_handlers_of_their_topic(fleet: Fleet) -> None:
    topic = await fleet.topic("orders-dlt", partitions=1)
    where = TopicPartition(topic, 0)
    for headers in (SPRING, SMALLRYE, CONNECT):
        await fleet.witness.write(where, OutgoingRecord(b"key", b'{"BetId":1}', headers))
        await fleet.witness.write(where, OutgoingRecord(b"key", b"\x00\xff", headers))
    await fleet.witness.write(where, dotnet(OriginalTopic="orders"))
    await fleet.witness.write(where, dotnet(OriginalTopic="elsewhere"))
    await fleet.witness.write(where, OutgoingRecord(None, b"{junk"))
    known = KnownHandler("billing", "app.settle", ("orders",), codec_for(Bet))
    result = await operations_without_a_bus(fleet, known, dead_letter_topics=topic).validate()
    samples = {(each.verdict, each.handler): each.samples for each in result.results}
    assert result.checked == 9
    assert samples == {
        ("accepted", "app.settle"): tuple(f"{topic}/0/{offset}" for offset in (0, 2, 4, 6)),
        ("refused", "app.settle"): tuple(f"{topic}/0/{offset}" for offset in (1, 3, 5)),
        ("not_known_here", "-"): tuple(f"{topic}/0/{offset}" for offset in (7, 8)),
    }
