"""Asks about groups over aiokafka. Connects for each call, for there are few."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.errors import KafkaError

from convex_messaging_fastapi.clock import Clock, sleep
from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.transport.base import GroupDescription
from convex_messaging_fastapi.transport.kafka.engine import Client, described, listed
from convex_messaging_fastapi.transport.kafka.recovery import Explanation, Reached, explain_membership
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

T = TypeVar("T")


class KafkaGroups:
    """Implements `GroupsTransport`. Nothing is waited for longer than `patience_seconds`."""

    def __init__(
        self,
        clock: Clock,
        tuning: Tuning,
        patience_seconds: float,
        *,
        reach: Callable[[], Awaitable[Reached | Explanation]],
        client: Callable[[Reached], Client],
    ) -> None:
        self._clock, self._tuning, self._patience_seconds = clock, tuning, patience_seconds
        self._reach, self._client = reach, client

    async def names(self) -> frozenset[str]:
        return await self._ask("the groups of the cluster", listed)

    async def describe(self, group: str) -> GroupDescription:
        return await self._ask(f"group {group!r}", lambda client: described(client, group), group)

    async def _ask(self, what: str, ask: Callable[[Client], Awaitable[T]], group: str = "") -> T:
        reached = await self._reach()
        if isinstance(reached, Explanation):
            raise TransportError(f"{what} cannot be described: {reached.detail}")
        client = self._client(reached)
        try:
            await client.bootstrap()
            return await self._patiently(lambda: ask(client))
        except KafkaError as error:
            why = explain_membership(error, group).detail
            raise TransportError(f"{what} cannot be described: {why}") from error
        finally:
            await client.close()

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        give_up = self._clock.now() + self._patience_seconds
        while True:
            try:
                return await ask()
            except KafkaError as error:
                # A coordinator that has just come, or moved, is soon known.
                if not error.retriable or self._clock.now() >= give_up:
                    raise
            await sleep(self._clock, self._tuning.retry_seconds)
