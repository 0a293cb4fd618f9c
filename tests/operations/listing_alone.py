"""A process that does nothing but list dead letters, and says what it took: `BOOTSTRAP PREFIX`."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from convex_messaging_fastapi import MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.operations import Operations, scanning
from convex_messaging_fastapi.parts import parts_for, transport_for


async def longest_block(call: Callable[[], Awaitable[object]]) -> float:
    """The most CPU time between two turns of another task."""
    longest, last = 0.0, time.thread_time()

    async def watch() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(0)
    last = time.thread_time()
    await call()
    await asyncio.sleep(0)
    watching.cancel()
    return longest


def resident(field: str) -> int:
    """Bytes: of `VmRSS`, or at its highest so far, `VmHWM`."""
    said = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(said[field].split()[0]) * 1024


async def main(bootstrap: str, prefix: str) -> None:
    # However busy the machine is, all of them are to be looked at.
    scanning.FOR_LISTINGS = replace(scanning.FOR_LISTINGS, seconds=600.0)
    settings, clock = MessagingSettings(bootstrap_servers=bootstrap, topic_prefix=prefix), SystemClock()
    matched: list[int] = []

    async def listed() -> None:
        parts = parts_for(settings, transport_for(settings, clock), clock)
        page = await Operations(parts).dead_letters()
        matched.append(page.matched)

    before = resident("VmRSS")
    await listed()
    highest = resident("VmHWM")
    gc.collect()
    gc.freeze()  # what a process holds is no garbage of the list's
    blocks = [await longest_block(listed) for _ in range(3)]
    told = {"matched": matched, "before": before, "highest": highest, "block": min(blocks)}
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
