"""Relays share the lanes through the database alone, and take over what nobody holds any more."""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi.outbox.leases import Claim
from convex_messaging_fastapi.outbox.tables import LANES
from tests.outbox.store.support import Stored

LONG = 60.0
OVER = -1.0


def lanes(claims: object) -> list[int]:
    return sorted(claim.lane for claim in claims)  # type: ignore[attr-defined]


async def test_the_first_relay_takes_all_lanes(stored: Stored) -> None:
    relay = stored.relay("a")
    await relay.prepare()
    beat = await relay.beat(LONG)
    assert beat.live == 1
    assert lanes(beat.claims) == list(range(LANES))
    assert {claim.token for claim in beat.claims} == {1}


async def test_the_lanes_are_put_in_once(stored: Stored) -> None:
    relay = stored.relay("a")
    await relay.prepare()
    before = await relay.beat(LONG)
    await stored.relay("b").prepare()
    assert await relay.beat(LONG) == before


async def test_a_lane_keeps_its_token_while_it_is_renewed(stored: Stored) -> None:
    relay = stored.relay("a")
    await relay.prepare()
    first, second = await relay.beat(LONG), await relay.beat(LONG)
    assert sorted(first.claims) == sorted(second.claims)


async def test_a_relay_that_comes_later_gets_what_is_given_back(stored: Stored) -> None:
    a, b = stored.relay("a"), stored.relay("b")
    await a.prepare()
    held = (await a.beat(LONG)).claims
    assert (await b.beat(LONG)).claims == ()
    assert (await a.beat(LONG)).live == 2
    await a.give_back(sorted(held)[32:])
    taken = (await b.beat(LONG)).claims
    assert lanes(taken) == list(range(32, 64))
    assert {claim.token for claim in taken} == {2}
    assert lanes((await a.beat(LONG)).claims) == list(range(32))


async def test_what_a_dead_relay_held_is_taken_over_once_its_lease_is_over(stored: Stored) -> None:
    a, b = stored.relay("a"), stored.relay("b")
    await a.prepare()
    await a.beat(OVER)
    beat = await b.beat(LONG)
    assert beat.live == 1
    assert len(beat.claims) == LANES
    assert (await a.beat(LONG)).claims == (), "what was lost is another's"


async def test_one_that_leaves_is_not_counted(stored: Stored) -> None:
    a, b = stored.relay("a"), stored.relay("b")
    await a.prepare()
    await a.beat(LONG)
    await b.beat(LONG)
    assert await a.live_relays() == 2
    await b.leave()
    assert await a.live_relays() == 1


async def test_only_the_owner_by_its_token_gives_back(stored: Stored) -> None:
    a, b = stored.relay("a"), stored.relay("b")
    await a.prepare()
    claims = (await a.beat(LONG)).claims
    await b.give_back(claims)
    await a.give_back([Claim(lane, token + 1) for lane, token in claims])
    assert (await b.beat(LONG)).claims == ()


async def test_beats_at_once_give_no_lane_to_two(stored: Stored) -> None:
    relays = [stored.relay(name) for name in "abcde"]
    await relays[0].prepare()
    for relay in relays:
        await relay.beat(OVER)
    beats = [beat for _ in range(2) for beat in await asyncio.gather(*(relay.beat(LONG) for relay in relays))]
    last = [lane for beat in beats[5:] for lane in lanes(beat.claims)]
    assert sorted(last) == sorted(set(last))
    assert set(last) == set(range(LANES))
