"""What runs beside the handlers of a bus and publishes through it, such as the relay of an outbox.

A bus knows its companions by these verbs alone, so that it needs nothing of what they need.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.publishing import Publishing, PublishLimits
from convex_messaging_fastapi.status import OutboxStatus, ProducerStatus


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

    def joining(self, company: Company) -> Accompanied:
        """With the publisher of one start of the bus."""
        return Accompanied(company, self._all)

    async def turn(self) -> bool:
        """One turn of each; whether there was anything to do."""
        return any([await companion.turn() for companion in self._all.values()])


class Accompanied:
    """The publisher of a bus and those who publish by it, in the order in which they start and stop."""

    def __init__(self, company: Company, companions: Mapping[str, Companion]) -> None:
        self._company = company
        self._companions = companions

    async def start(self) -> None:
        """Nothing here waits for the cluster, or for what companions need."""
        await self._company.publishing.start()
        for companion in self._companions.values():
            await companion.start(self._company)

    def stops_of_companions(self, seconds: float) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The stop of each, to be run side by side, before the publisher's."""
        return {f"ending {name}": companion.stop(seconds) for name, companion in self._companions.items()}

    def stop_of_publisher(self, seconds: float) -> Mapping[str, Coroutine[Any, Any, None]]:
        return {"closing the producer": self._company.publishing.stop(seconds)}

    def producer(self) -> ProducerStatus:
        return self._company.publishing.status()

    def outboxes(self) -> tuple[OutboxStatus, ...]:
        return tuple(companion.status() for companion in self._companions.values())
