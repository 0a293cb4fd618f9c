"""Rows are changed only by the relay that holds their lane; what it delivered, by any."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.outbox.leases import Claim
from convex_messaging_fastapi.outbox.store.leasing import Leasing
from convex_messaging_fastapi.outbox.tables import DELIVERED, DUE, HELD, PARKED
from tests.outbox.store.support import Stored

ONE = Claim(3, 1)
"""The lane of the rows here, as its first owner holds it."""


@pytest.fixture
async def owner(stored: Stored) -> Leasing:
    owner = stored.relay("a")
    await owner.prepare()
    await owner.beat(60.0)
    return owner


async def states(stored: Stored) -> list[int]:
    return [state for *_, state in await stored.rows()]


async def test_what_was_acknowledged_is_gone(stored: Stored, owner: Leasing) -> None:
    await stored.put(*[(3, "t")] * 3)
    ids = [id for id, *_ in await stored.rows()]
    await stored.settling(owner).delivered(ids[:2])
    assert [id for id, *_ in await stored.rows()] == ids[2:]


async def test_what_was_acknowledged_stays_where_it_is_kept(stored: Stored, owner: Leasing) -> None:
    await stored.put(*[(3, "t")] * 2)
    ids = [id for id, *_ in await stored.rows()]
    await stored.settling(owner, keeps=True).delivered(ids[:1])
    assert await states(stored) == [DELIVERED, DUE]


async def test_thousands_are_settled_at_once(stored: Stored, owner: Leasing) -> None:
    await stored.put(*[(3, "t")] * 2_500)
    await stored.settling(owner).delivered([id for id, *_ in await stored.rows()])
    assert await stored.rows() == []


async def test_a_topic_is_held_in_one_lane_and_put_back(stored: Stored, owner: Leasing) -> None:
    await stored.put((3, "bad"), (3, "good"), (4, "bad"))
    settling = stored.settling(owner)
    assert await settling.hold([ONE], "bad", "TopicUnavailable: no such topic") == {3}
    assert await states(stored) == [HELD, DUE, DUE]
    assert await stored.fetching.held_topics([3, 4]) == [(3, "bad")]
    assert await settling.reopen([ONE], "bad") == {3}
    assert await states(stored) == [DUE, DUE, DUE]


async def test_a_row_is_parked_with_its_error(stored: Stored, owner: Leasing) -> None:
    await stored.put(*[(3, "t")] * 3)
    ids = [id for id, *_ in await stored.rows()]
    settling = stored.settling(owner)
    await settling.park([ONE], {ids[1]: "MessageTooLarge: " + "x" * 5_000})
    assert await states(stored) == [DUE, PARKED, DUE]


@pytest.mark.parametrize("claim", [Claim(3, 0), Claim(3, 2)], ids=["older", "newer"])
async def test_who_has_lost_the_lane_changes_nothing(stored: Stored, owner: Leasing, claim: Claim) -> None:
    await stored.put((3, "t"), (3, "held"))
    settling = stored.settling(owner)
    await settling.hold([ONE], "held", "")
    ids = [id for id, *_ in await stored.rows()]
    assert await settling.hold([claim], "t", "") == frozenset()
    assert await settling.reopen([claim], "held") == frozenset()
    await settling.park([claim], {ids[0]: ""})
    assert await states(stored) == [DUE, HELD]


async def test_only_the_lanes_that_are_still_held_are_changed(stored: Stored, owner: Leasing) -> None:
    await stored.put((3, "t"), (4, "t"))
    held = await stored.settling(owner).hold([ONE, Claim(4, 9)], "t", "")
    assert held == {3}
    assert await states(stored) == [HELD, DUE]


async def test_another_relay_with_the_same_token_changes_nothing(stored: Stored, owner: Leasing) -> None:
    await stored.put((3, "t"))
    assert await stored.settling(stored.relay("b")).hold([ONE], "t", "") == frozenset()
    assert await states(stored) == [DUE]


async def test_who_has_lost_the_lane_still_deletes_what_it_has_published(
    stored: Stored, owner: Leasing
) -> None:
    await stored.put((3, "t"))
    ids = [id for id, *_ in await stored.rows()]
    await stored.settling(stored.relay("b")).delivered(ids)
    assert await stored.rows() == []


async def test_what_is_delivered_is_not_parked_any_more(stored: Stored, owner: Leasing) -> None:
    await stored.put((3, "t"))
    ids = [id for id, *_ in await stored.rows()]
    settling = stored.settling(owner, keeps=True)
    await settling.delivered(ids)
    await settling.park([ONE], {ids[0]: "late"})
    assert await states(stored) == [DELIVERED]
