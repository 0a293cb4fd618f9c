"""A thousand letters: a filtered half is replayed with progress that every instance shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from convex_messaging_fastapi import MessageBus, Reject
from tests.console.support import (
    HANDLER,
    PREFIX,
    SAME_SITE,
    Deployed,
    Page,
    Payment,
    app_with,
    calling,
    shop,
)
from tests.plugin.calls import running
from tests.support.waiting import eventually

COUNT = 1_000
HALF = COUNT // 2
RATE = 200


class Instance:
    """One process of the shop, as somebody before its console sees it."""

    def __init__(self, bus: MessageBus, deployed: Deployed, browser: httpx.AsyncClient) -> None:
        self.bus, self.deployed, self.browser = bus, deployed, browser

    async def told(self, path: str) -> Any:
        return (await self.browser.get(f"{PREFIX}/api{path}")).raise_for_status().json()

    async def done(self, job: str) -> set[int]:
        """How far it says that a job is; nothing while it does not know of it, or is too busy to say."""
        answer = await self.browser.get(f"{PREFIX}/api{job}")
        assert answer.status_code in (200, 404, 503), answer.text
        return {answer.json()["done"]} if answer.status_code == 200 else set()

    async def page(self, path: str) -> Page:
        return Page((await self.browser.get(PREFIX + path)).raise_for_status().text)


@pytest.fixture
async def two(unique: str) -> AsyncIterator[tuple[Instance, Instance]]:
    """Two instances in one process, over one broker in memory, in real time."""
    async with AsyncExitStack() as ends:
        made = list[Instance]()
        for _ in range(2):
            bus, deployed = shop(bootstrap_servers=f"memory://{unique}")

            @bus.subscriber("refunds", id="give_back")
            async def give_back(payment: Payment) -> None:
                raise Reject("the bank is away")

            app = app_with(bus)
            await ends.enter_async_context(running(app))
            made.append(Instance(bus, deployed, await ends.enter_async_context(calling(app))))
        yield made[0], made[1]


async def test_a_filtered_half_is_replayed_with_progress_that_another_instance_shows(
    two: tuple[Instance, Instance],
) -> None:
    one, other = two
    for topic in ("payments", "refunds"):
        payments = [Payment(amount=amount) for amount in range(HALF)]
        await one.bus.publish_many(topic, payments, key=lambda each: str(each.amount))

    def buried() -> int:
        workers = [worker for each in two for worker in each.bus.status().workers]
        return sum(each.buried for worker in workers for each in worker.subscriptions)

    await eventually(lambda: buried() == COUNT, 60, "a thousand letters")
    for each in two:
        each.deployed.refuses = False
    listed = await one.page("/dead-letters/list?limit=1")
    assert f"{COUNT:,} letters" in listed.text
    assert len([each for each in listed.all("input") if each.get("name") == "ids"]) == 100

    asked = await one.page(f"/dead-letters/replay?handler={HANDLER}&rate={RATE}&anyway=yes")
    assert f"Replay {HALF} letters?" in asked.text
    form = asked.form("post")
    pressed = await one.browser.post(form.action, data=dict(form.fields), headers=SAME_SITE)
    job = pressed.headers["location"].removeprefix(PREFIX)
    here, there = set[int](), set[int]()
    while (told := await one.told(job))["status"] == "running":
        here.add(told["done"])
        there |= await other.done(job)
        await asyncio.sleep(0)
    assert (told["status"], told["done"]) == ("done", HALF)
    assert len(here) > 3
    assert len(there) > 1

    def taken() -> list[int]:
        return sorted(amount for each in two for amount in each.deployed.taken)

    await eventually(lambda: len(taken()) >= HALF, 20, "all to be handled")
    assert taken() == list(range(HALF))
    assert f"{HALF} of {HALF} letters" in (await other.page(job)).text
    left = (await one.told("/dead-letters?limit=0&state=open"))["groups"]
    assert [(each["handler"], each["counts"]) for each in left] == [("give_back", {"open": HALF})]
