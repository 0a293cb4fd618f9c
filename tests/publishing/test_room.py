"""Room is given in the order of asking, is never overdrawn but by one alone, and always comes back."""

from __future__ import annotations

import asyncio
import random

import pytest

from convex_messaging_fastapi.publishing.room import Room

SIZE = 100


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_asks_gets_it_in_turn_unless_he_goes_away(seed: int) -> None:
    drawn, room = random.Random(seed), Room(SIZE)
    inside: dict[int, int] = {}
    entered: list[int] = []
    most = 0

    async def visit(number: int, size: int) -> None:
        nonlocal most
        await room.take(size)
        inside[number] = size
        entered.append(number)
        most = max(most, sum(inside.values()))
        assert sum(inside.values()) <= SIZE or len(inside) == 1
        try:
            for _ in range(drawn.randrange(4)):
                await asyncio.sleep(0)
        finally:
            del inside[number]
            room.give_back(size)

    visits = [asyncio.create_task(visit(n, drawn.choice([1, 30, 60, 100, 250]))) for n in range(60)]
    for _ in range(15):
        await asyncio.sleep(0)
        drawn.choice(visits).cancel()
    await asyncio.gather(*visits, return_exceptions=True)
    assert entered == sorted(entered)
    assert most == 250
    assert (room._taken, len(room._waiting)) == (0, 0)


async def test_one_that_goes_away_lets_those_behind_it_in() -> None:
    room = Room(SIZE)
    await room.take(50)
    large, small = (asyncio.create_task(room.take(size)) for size in (100, 50))
    await asyncio.sleep(0)
    large.cancel()
    await small
    with pytest.raises(asyncio.CancelledError):
        await large


async def test_one_that_goes_away_just_as_it_is_let_in_gives_it_back() -> None:
    room = Room(SIZE)
    await room.take(SIZE)
    waiting = asyncio.create_task(room.take(SIZE))
    await asyncio.sleep(0)
    room.give_back(SIZE)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(room.take(SIZE), 1)
