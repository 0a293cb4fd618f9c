"""Random lives of a worker: none may lose, pass, overlap or strand a record, whatever happens when.

A life that breaks something names its seed: `live(seed, Counter())` is that life again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from convex_messaging_fastapi.consuming import worker as worker_module
from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.lanes import Lane
from convex_messaging_fastapi.consuming.runners import Runners
from convex_messaging_fastapi.consuming.subscription import Subscription
from tests.consuming.lives import Broken
from tests.consuming.living import live
from tests.consuming.test_shared_room import as_if_nobody_shared

SHORT, BLOCK, BLOCKS = 40, 100, 10

LEAST = {
    "revocations": 1000,
    "ends later than their drain": 200,
    "failed commits": 200,
    "unknown commits": 200,
    "detaches amid work": 100,
    "failed letters": 100,
    "lost": 300,
    "own tasks ended": 200,
    "sieges": 100,
    "openings": 150,
}
"""What a thousand lives must have met, or they show nothing."""


async def many(seeds: Sequence[int], met: Counter[str]) -> None:
    for seed in seeds:
        await live(seed, met)


async def lives(seeds: Sequence[int]) -> Counter[str]:
    met: Counter[str] = Counter()
    await many(seeds, met)
    return met


def say(seeds: Sequence[int], met: Counter[str]) -> None:
    print(f"seeds {seeds[0]} to {seeds[-1]} met: {dict(sorted(met.items()))}")  # noqa: T201


def must_have_met(met: Counter[str]) -> None:
    for what, least in LEAST.items():
        assert met[what] >= least * met["lives"] / 1000, f"too little of {what}"


async def test_a_few_lives_break_nothing() -> None:
    first = int(os.environ.get("LIVES_SEED", "0"))
    seeds = range(first, first + SHORT)
    met = await lives(seeds)
    say(seeds, met)
    assert met["lives"] == SHORT
    for what in LEAST:
        assert met[what], f"nothing of {what}"


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_thousand_lives_break_nothing() -> None:
    first = int(os.environ.get("LIVES_SEED", "10000"))
    met: Counter[str] = Counter()
    for block in range(BLOCKS):
        seeds = range(first + block * BLOCK, first + (block + 1) * BLOCK)
        found = await lives(seeds)
        say(seeds, found)
        met += found
    assert met["lives"] == BLOCK * BLOCKS
    must_have_met(met)


# -- what was once broken, put back ----------------------------------------------------------------


def a_batch_lane_is_given_back_without_its_timer(patch: pytest.MonkeyPatch) -> None:
    give_back = Subscription._give_back

    def without_timer(self: Subscription, lane: Lane, jobs: Sequence[Job]) -> None:
        if isinstance(sys.exc_info()[1], asyncio.CancelledError) and not self.gate.closed:
            self._lanes.release(lane, jobs)
        else:
            give_back(self, lane, jobs)

    patch.setattr(Subscription, "_give_back", without_timer)


def what_a_leaving_handler_gives_back_is_kept(patch: pytest.MonkeyPatch) -> None:
    def keep(self: Subscription, lane: Lane, jobs: Sequence[Job]) -> None:
        self._release(lane, jobs)

    patch.setattr(Subscription, "_give_back", keep)


def any_cancellation_counts_as_the_workers(patch: pytest.MonkeyPatch) -> None:
    def is_cancelled(self: Runners) -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    patch.setattr(Runners, "is_asked_to_end", is_cancelled)


def one_partition_may_take_all_the_room(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        worker_module, "wanted", lambda owned, limits, turn: as_if_nobody_shared([*owned], limits, turn)
    )


DEFECTS = [
    a_batch_lane_is_given_back_without_its_timer,
    what_a_leaving_handler_gives_back_is_kept,
    any_cancellation_counts_as_the_workers,
    one_partition_may_take_all_the_room,
]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", [0, 100_000, 200_000])
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
async def test_a_defect_put_back_is_found_within_a_thousand_lives(
    defect: Callable[[pytest.MonkeyPatch], None], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    defect(monkeypatch)
    met: Counter[str] = Counter()
    with pytest.raises(Broken) as found:
        await many(range(first, first + 1000), met)
    print(f"{defect.__name__}: life {met['lives'] + 1} of seed {first}: {found.value}"[:300])  # noqa: T201
