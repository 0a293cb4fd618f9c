"""Lets one worker live: what happens to it, in which order, and what must be so in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.subscription import Subscription
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.policies import MAX_BREAKER_WAIT_SECONDS, Batch, Breaker
from convex_messaging_fastapi.testing import until_idle
from tests.consuming.lives import (
    GUEST,
    PARTITIONS,
    RETRY,
    STAYING,
    TOPICS,
    Broken,
    Calls,
    Graves,
    Membership,
    World,
)
from tests.consuming.support import subscription

MIB = 1024 * 1024
STEP_SECONDS = 0.25
TURNS = 6
PATIENCE_SECONDS = 30.0
"""So long nothing may stand still while every handler, letter and commit is kind, and no breaker waits."""


class Life:
    """One worker, from its start to its stop, as the seed says."""

    def __init__(self, seed: int, met: Counter[str]) -> None:
        self.random = random = Random(seed)
        self.clock = ManualClock()
        self.world = World(random, self.clock, met)
        self.limits = Limits(random.choice((1, 3, 20, 1000)), random.choice((1, 3, 20, 1000)), 64 * MIB)
        self.memberships: list[Membership] = []
        self._concurrency = random.choice((1, 2, 8))
        # Drawn apart, so that a life without breakers is the same whatever they become.
        self._outages = Random(f"outages of {seed}")
        self._breaker = self._outages.choice((None, None, Breaker(1, 3, 0.5), Breaker(0.4, 5, 2)))
        self.world.has_breakers = self._breaker is not None
        interval = random.choice((None, 1.0, 5.0))
        self.worker = Worker("g", self._connect, self.clock, self.limits, interval)
        self._threads = HandlerThreads(1)
        self._graves = Graves(self.world)
        self._has_guest = False
        self._change: asyncio.Task[None] | None = None
        self._taking: asyncio.Task[None] | None = None

    def _connect(self) -> Membership:
        self.memberships.append(Membership(self.world))
        return self.memberships[-1]

    def _subscription(self, who: str, topics: tuple[str, ...]) -> Subscription:
        in_batches = who == STAYING[1]
        calls = Calls(self.world, who, in_batches)
        batch = Batch(self.random.choice((1, 3, 10, 100)), 0.5) if in_batches else None
        return subscription(
            calls.several if in_batches else calls.one,
            who,
            self.clock,
            self._graves,
            self._threads,
            retry=RETRY,
            batch=batch,
            topics=topics,
            concurrency=self._concurrency,
            breaker=self._breaker,
        )

    async def live(self) -> None:
        for who in STAYING:
            self.worker.add(self._subscription(who, TOPICS[:1]))
        await self.worker.start()
        for _ in range(self.random.randrange(20, 50)):
            await self._something_happens()
        if self.random.random() < 0.5:
            await self._is_taken_away_amid_work()
        self._all_is_kind()
        if self.random.random() < 0.3:
            await self._one_key_is_hopeless()
        await self._until_all_is_done()
        await self._stop()

    # -- what happens ------------------------------------------------------------------------

    async def _something_happens(self) -> None:
        random, world = self.random, self.world
        self._settle_membership()
        if self._breaker is not None and self._outages.random() < 0.15:
            world.is_away = not world.is_away
        match random.choices(
            ("feed", "pass", "take away", "guest", "letters", "commits"), (35, 35, 12, 10, 5, 3)
        )[0]:
            case "feed":
                world.append(random.choice(PARTITIONS), random.choice((1, 2, 5, 30)))
            case "take away":
                self._take_away(random.choice((0, 0.5, 1, 3)))
            case "guest":
                self._guest_comes_or_goes()
            case "letters":
                world.letters_fail = not world.letters_fail
            case "commits":
                world.commits_fail = random.choice((0, 0.2, 0.9))
        await self.advance(random.choice((0, 0.1, 0.3, 1, 3)))

    def _settle_membership(self) -> None:
        """A member that waits for partitions gets them, sooner or later."""
        current = self.memberships[-1]
        if current.state == "joining" and (self.world.is_kind or self.random.random() < 0.7):
            current.assign()
        elif self.world.is_kind and not current.has_all:
            self._take_away(3)

    def _take_away(self, seconds: float) -> None:
        current = self.memberships[-1]
        if current.state == "held" and (self._taking is None or self._taking.done()):
            self._taking = asyncio.create_task(current.take_away(self.clock.now() + seconds))

    def _guest_comes_or_goes(self) -> None:
        if self._change is not None and not self._change.done():
            return
        drain = self.random.choice((0.5, 2, 5))
        if self._has_guest:
            self.world.met["detaches"] += 1
            guest = next(each for each in self.worker.subscriptions if each.config.id == GUEST)
            self.world.met["detaches amid work"] += guest.is_at_work
            self._change = asyncio.create_task(self.worker.detach(GUEST, drain))
        else:
            topics = self.random.choice((TOPICS[:1], TOPICS[1:], TOPICS))
            self._change = asyncio.create_task(self.worker.attach(self._subscription(GUEST, topics), drain))
        self._has_guest = not self._has_guest

    async def advance(self, seconds: float) -> None:
        end = self.clock.now() + seconds
        while True:
            await until_idle(TURNS)
            self._look()
            if self.clock.now() >= end:
                return
            self.clock.advance(min(STEP_SECONDS, end - self.clock.now()))

    def _look(self) -> None:
        for task in (self._change, self._taking):
            if task is not None and task.done() and not task.cancelled():
                task.result()
        if self.world.broken:
            raise Broken(self.world.broken[0])
        if not self.worker.alive:
            raise Broken("the worker counts as dead")

    # -- the end -----------------------------------------------------------------------------

    async def _is_taken_away_amid_work(self) -> None:
        """And comes back with little to do, before whoever was at work has ended."""
        self._settle_membership()
        self.world.all_outlive = True
        self.world.append(self.random.choice(PARTITIONS[:2]), 2)
        await self.advance(self.random.choice((0.6, 1)))
        self._take_away(self.random.choice((0, 0.5)))

    def _all_is_kind(self) -> None:
        world = self.world
        world.is_kind, world.letters_fail, world.commits_fail = True, False, 0.0
        world.is_away = False

    async def _one_key_is_hopeless(self) -> None:
        """One key fails, hangs or has no letter, with more of it than the buffer holds: the others go on."""
        await self._until_all_is_done()
        world, kind = self.world, self.random.choice(("fails", "hangs", "has no letter"))
        if self._concurrency == 1 and kind == "hangs":
            return  # the only handler there may be
        world.hopeless, world.hangs = b"hopeless", kind == "hangs"
        world.letters_fail = kind == "has no letter"
        world.append(PARTITIONS[0], 3 * min(self.limits.max_buffer_records, 50), b"hopeless")
        await self.advance(2)
        world.append(PARTITIONS[1], 20)
        world.met["sieges"] += 1
        await self._until(
            lambda: not self._unfinished(1), lambda: -self._unfinished(1), "beside a hopeless key"
        )
        world.hopeless, world.letters_fail = None, False
        if kind == "hangs":
            self._take_away(0)

    def _unfinished(self, number: int) -> int:
        world, where = self.world, PARTITIONS[number]
        return sum(not world.is_finished(where, record.offset) for record in world.logs[where])

    async def _until_all_is_done(self) -> None:
        world = self.world
        await self._until(
            lambda: not world.left_to_do(), lambda: -world.left_to_do(), "although all are kind"
        )

    async def _until(self, done: Callable[[], bool], progress: Callable[[], Any], when: str) -> None:
        best, since = None, self.clock.now()
        patience = PATIENCE_SECONDS if self._breaker is None else 2 * MAX_BREAKER_WAIT_SECONDS
        while not done():
            self._settle_membership()
            await self.advance(1)
            if best is None or progress() > best:
                best, since = progress(), self.clock.now()
            if self.clock.now() - since > patience:
                status = [each.status() for each in self.worker.subscriptions]
                raise Broken(
                    f"stands still {when}: {progress()}; {status}; {self.world.stored}; {self.limits}"
                )

    async def _stop(self) -> None:
        breakers = [each.status().breaker for each in self.worker.subscriptions]
        self.world.met["openings"] += sum(each.openings for each in breakers if each is not None)
        await self._done(self.worker.stop(5, self.clock.now() + 8), 10, "the stop")
        await self.advance(4)  # for handlers that clean up
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("convex-")]
        if left:
            raise Broken(f"tasks are left after the stop: {left}")
        self._threads.close()
        self.world.met["lives"] += 1

    async def abandon(self) -> None:
        """Nothing of a life that broke something may go on, or wait for a clock that nobody turns."""
        for each in self.worker.subscriptions:
            each.close()
        here = asyncio.current_task()
        while left := [task for task in asyncio.all_tasks() if task is not here]:
            for task in left:
                task.cancel()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            self.clock.advance(10**6)
        self._threads.close()

    async def _done(self, step: Awaitable[None], seconds: float, what: str) -> None:
        task = asyncio.ensure_future(step)
        end = self.clock.now() + seconds
        while not task.done():
            await asyncio.sleep(0)
            self.clock.advance(0.05)
            if self.clock.now() > end:
                raise Broken(f"{what} takes longer than {seconds:g} s")
        task.result()


async def live(seed: int, met: Counter[str]) -> None:
    """One life; `Broken` names the seed by which it can be lived again."""
    life = Life(seed, met)
    try:
        await life.live()
    except Exception as broken:
        broken.add_note(f"the life of seed {seed}")
        await life.abandon()
        raise
