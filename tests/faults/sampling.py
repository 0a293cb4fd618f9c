"""Looks at processes again and again: how much memory, how many open files, threads and tasks they hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.faults.evidence import Usage
from tests.support.background import at_work
from tests.support.services import Service

EVERY_SECONDS = 1.0


class Sampler:
    """What it saw of each life, in order."""

    def __init__(self, processes: Callable[[], Iterable[Service]]) -> None:
        self.usage: list[Usage] = []
        self._processes = processes
        self._ends = threading.Event()

    def look(self) -> None:
        """At all of them, now."""
        for service in self._processes():
            if service.alive and (usage := usage_of(service)) is not None:
                self.usage.append(usage)

    def run(self) -> None:
        while not self._ends.wait(EVERY_SECONDS):
            self.look()

    def end(self) -> None:
        self._ends.set()


@contextmanager
def sampling(processes: Callable[[], Iterable[Service]]) -> Iterator[Sampler]:
    """A sampler at work in a thread of its own until the end."""
    sampler = Sampler(processes)
    with at_work(sampler, "sampler"):
        yield sampler


def usage_of(service: Service) -> Usage | None:
    """What it holds now; `None` when it does not answer: it is starting, frozen or ending."""
    pid = service.pid
    at = time.monotonic()
    try:
        tasks = int(httpx.get(f"{service.address}/tasks", timeout=2).raise_for_status().text)
        status = Path(f"/proc/{pid}/status").read_text()
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except (httpx.HTTPError, FileNotFoundError, ProcessLookupError):
        return None
    said = dict(line.split(":", 1) for line in status.splitlines())
    if "VmRSS" not in said:  # a process that is just ending has no memory any more
        return None
    rss = int(said["VmRSS"].split()[0]) / 1024
    return Usage(at, f"{service.name}:{pid}", rss, files, int(said["Threads"]), tasks)
