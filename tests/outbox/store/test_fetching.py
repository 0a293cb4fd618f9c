"""Due rows are read in the order of their ids, those of the lanes that are asked for alone."""

from __future__ import annotations

from convex_messaging_fastapi.outbox.leases import Claim
from tests.outbox.store.support import Stored

PLENTY = 1_000_000


async def test_rows_come_in_their_order(stored: Stored) -> None:
    await stored.put((3, "a"), (5, "b"), (3, "c"))
    found = await stored.fetching.due([3, 5], 10, 10, PLENTY)
    assert [(row.lane, row.topic, row.key, row.value, row.headers) for row in found] == [
        (3, "a", b"k", b"{}", "[]"),
        (5, "b", b"k", b"{}", "[]"),
        (3, "c", b"k", b"{}", "[]"),
    ]
    assert [row.id for row in found] == sorted(row.id for row in found)


async def test_rows_of_other_lanes_are_not_read(stored: Stored) -> None:
    await stored.put((3, "a"), (4, "b"))
    assert [row.topic for row in await stored.fetching.due([3], 10, 10, PLENTY)] == ["a"]


async def test_what_is_set_aside_is_not_read(stored: Stored) -> None:
    owner = stored.relay("a")
    await owner.prepare()
    await owner.beat(60.0)
    await stored.put((3, "held"), (3, "due"))
    await stored.settling(owner).hold([Claim(3, 1)], "held", "")
    assert [row.topic for row in await stored.fetching.due([3], 10, 10, PLENTY)] == ["due"]


async def test_one_lane_does_not_starve_the_others(stored: Stored) -> None:
    await stored.put(*[(3, "hot")] * 50, (4, "cold"))
    found = await stored.fetching.due([3, 4], 10, 60, PLENTY)
    assert "cold" in [row.topic for row in found]
    if stored.words.is_postgresql:
        assert len(found) == 11


async def test_large_rows_are_read_a_few_at_a_time(stored: Stored) -> None:
    await stored.put(*[(3, "t")] * 10, value=b"x" * 1_000)
    assert len(await stored.fetching.due([3], 10, 10, 2_500)) == 3


async def test_one_row_is_read_however_large(stored: Stored) -> None:
    await stored.put(*[(3, "t")] * 2, value=b"x" * 5_000_000)
    found = await stored.fetching.due([3], 10, 10, 1)
    assert [len(row.value or b"") for row in found] == [5_000_000]


async def test_the_first_held_row_is_the_one_to_try(stored: Stored) -> None:
    owner = stored.relay("a")
    await owner.prepare()
    await owner.beat(60.0)
    await stored.put((3, "t"), (4, "t"), (4, "other"))
    for lane in (3, 4):
        await stored.settling(owner).hold([Claim(lane, 1)], "t", "")
    ids = [id for id, *_ in await stored.rows()]
    first = await stored.fetching.first_held([3, 4], "t")
    assert first is not None
    assert first.id == ids[0]
    last = await stored.fetching.first_held([4], "t")
    assert last is not None
    assert last.id == ids[1]
    assert await stored.fetching.first_held([4], "other") is None
