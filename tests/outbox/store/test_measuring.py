"""What waits is counted, and its age told, without a look at every row."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.outbox.leases import Claim
from convex_messaging_fastapi.outbox.store import measuring
from convex_messaging_fastapi.outbox.store.leasing import Leasing
from tests.outbox.store.support import Stored


@pytest.fixture
async def owner(stored: Stored) -> Leasing:
    owner = stored.relay("a")
    await owner.prepare()
    await owner.beat(60.0)
    return owner


async def test_an_empty_outbox_has_no_age(stored: Stored) -> None:
    waiting = await stored.measuring.waiting()
    assert (waiting.pending, waiting.parked, waiting.oldest_seconds) == (0, 0, None)


async def test_what_waits_is_counted_by_its_state(stored: Stored, owner: Leasing) -> None:
    await stored.put((3, "held"), (4, "held"), (3, "due"), (3, "parked"))
    ids = [id for id, *_ in await stored.rows()]
    settling = stored.settling(owner)
    await settling.hold([Claim(3, 1), Claim(4, 1)], "held", "")
    await settling.park([Claim(3, 1)], {ids[3]: "too large"})
    waiting = await stored.measuring.waiting()
    assert (waiting.due, waiting.parked, dict(waiting.held), waiting.pending) == (1, 1, {"held": 2}, 3)


@pytest.mark.parametrize("is_held", [False, True], ids=["due", "held"])
async def test_the_oldest_row_tells_the_age(stored: Stored, owner: Leasing, *, is_held: bool) -> None:
    await stored.put((5, "t"))
    if is_held:
        await stored.settling(owner).hold([Claim(5, 1)], "t", "")
    first = (await stored.measuring.waiting()).oldest_seconds
    assert first is not None
    assert 0 <= first < 60


async def test_counting_ends_somewhere(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "MOST_COUNTED", 5)
    await stored.put(*[(3, "t")] * 9)
    assert (await stored.measuring.waiting()).pending == 5


async def test_what_was_kept_long_enough_is_taken_out(stored: Stored, owner: Leasing) -> None:
    await stored.put((3, "old"), (3, "new"), (3, "due"))
    ids = [id for id, *_ in await stored.rows()]
    await stored.settling(owner, keeps=True).delivered(ids[:2])
    assert await stored.measuring.clean_up(3600) == 0
    assert await stored.measuring.clean_up(-1) == 2
    assert [topic for _, _, topic, _ in await stored.rows()] == ["due"]
