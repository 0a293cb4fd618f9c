"""What runs beside the handlers of a bus and publishes through it, such as the relay of an outbox.

A bus knows its companions by these verbs alone, so that it needs nothing of what they need.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.publishing import Publishing, PublishLimits
from convex_messaging_fastapi.status import OutboxStatus


@dataclass(frozen=True, slots=True)
class Company:
    """What a bus gives its companions. In a test, time stands still, and `turn` is called instead."""

    publishing: Publishing
    limits: PublishLimits
    clock: Clock
    is_test: bool


class Companion(Protocol):
    """Started after the publisher, stopped between the handlers and the publisher."""

    async def start(self, company: Company) -> None:
        """Begin, and return at once, whatever does not answer."""
        ...

    async def stop(self, seconds: float) -> None:
        """End everything within `seconds`. It may be started again, with another company."""
        ...

    async def turn(self) -> bool:
        """In a test: do what is to be done now; whether there was anything."""
        ...

    def status(self) -> OutboxStatus: ...


class Companions:
    """The companions of one bus, by name."""

    def __init__(self) -> None:
        self._all: dict[str, Companion] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def add(self, name: str, companion: Companion) -> None:
        self._all[name] = companion

    async def start(self, company: Company) -> None:
        for companion in self._all.values():
            await companion.start(company)

    def stops(self, seconds: float) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The stop of each, to be run side by side."""
        return {f"ending {name}": companion.stop(seconds) for name, companion in self._all.items()}

    async def turn(self) -> bool:
        """One turn of each; whether there was anything to do."""
        return any([await companion.turn() for companion in self._all.values()])

    def status(self) -> tuple[OutboxStatus, ...]:
        return tuple(companion.status() for companion in self._all.values())
