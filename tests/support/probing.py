"""Asks an app's probes again and again, as a kubelet would, and remembers every answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx

from tests.support.background import at_work

EVERY_SECONDS = 0.2
LIVE, READY = "/health/kafka/live", "/health/kafka/ready"


class Answer(NamedTuple):
    """What a probe said, and when (CLOCK_MONOTONIC) it was asked; no status when nobody answered."""

    at: float
    path: str
    status: int | None
    said: str


class Prober:
    """The answers so far, in the order they were asked for."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._answers: list[Answer] = []
        self._ends = threading.Event()

    def answers(self, path: str) -> list[Answer]:
        return [answer for answer in self._answers if answer.path == path]

    def statuses(self, path: str) -> set[int | None]:
        return {answer.status for answer in self.answers(path)}

    def first(self, path: str, status: int, after: float) -> float | None:
        """When `path` first answered `status`, asked at or after a time."""
        found = (a.at for a in self.answers(path) if a.at >= after and a.status == status)
        return next(found, None)

    def last(self, path: str, status: int) -> float | None:
        """When `path` last answered `status`."""
        found = (answer.at for answer in reversed(self.answers(path)) if answer.status == status)
        return next(found, None)

    def run(self) -> None:
        with httpx.Client(base_url=self._address, timeout=5) as client:
            while not self._ends.wait(EVERY_SECONDS):
                self._answers += [_ask(client, path) for path in (LIVE, READY)]

    def end(self) -> None:
        self._ends.set()


@contextmanager
def probing(address: str) -> Iterator[Prober]:
    """A prober at work in a thread of its own until the end."""
    prober = Prober(address)
    with at_work(prober, "prober"):
        yield prober


def _ask(client: httpx.Client, path: str) -> Answer:
    at = time.monotonic()
    try:
        response = client.get(path)
    except httpx.TransportError as error:
        return Answer(at, path, None, repr(error))
    return Answer(at, path, response.status_code, response.text)
