"""What a bus has going in this process: counted before it starts, and again after it has stopped."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from convex_messaging_fastapi.publishing import Publisher


class Going(NamedTuple):
    """Tasks and threads by name, open sockets, and publishers that take messages."""

    tasks: Counter[str]
    threads: Counter[str]
    sockets: Counter[str]
    publishers: int

    def since(self, before: Going) -> str:
        """What there is now and was not `before`; empty when there is no more of anything."""
        more = [
            *(f"task {name}" for name in self.tasks - before.tasks),
            *(f"thread {name}" for name in self.threads - before.threads),
            *self.sockets - before.sockets,
            *(["publisher"] * (self.publishers - before.publishers)),
        ]
        return ", ".join(more)


def going() -> Going:
    """Everything but the task that asks."""
    asker = asyncio.current_task()
    return Going(
        Counter(task.get_name() for task in asyncio.all_tasks() if task is not asker),
        Counter(thread.name for thread in threading.enumerate()),
        _sockets(),
        sum(isinstance(thing, Publisher) and thing.status().alive for thing in gc.get_objects()),
    )


def _sockets() -> Counter[str]:
    """By their number in the system, for one that is closed must not hide another that is left."""
    found: Counter[str] = Counter()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            name = os.readlink(descriptor)
        except FileNotFoundError:  # the one that listed this folder
            continue
        if name.startswith("socket:"):
            found[name] += 1
    return found
