"""Members of ours that nobody answers for any more: the group would wait for each until its session ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest

from convex_messaging_fastapi.transport.kafka.engine.codes import for_code

_NOT_THE_COORDINATOR = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
"""Answers of a broker that cannot say whether a member has left."""


SOON_SECONDS = 0.1
"""Within this time a broker answers a question to join that has nobody to wait for."""

REMEMBERED = 100
"""So many ids at most, the latest: an older one's session is long over."""


class Ghosts:
    """The ids of one group under which we may still be counted as members. Iterate to see them."""

    def __init__(self) -> None:
        self._ids: deque[str] = deque(maxlen=REMEMBERED)
        self._left: deque[str] = deque(maxlen=REMEMBERED)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._ids))

    def add(self, id: str) -> None:
        """We are not this member any more, and may not have said so."""
        if id and id not in self._left and id not in self._ids:
            self._ids.append(id)

    def left(self, id: str) -> None:
        """The group knows no such member any more."""
        self._left.append(id)
        if id in self._ids:
            self._ids.remove(id)


class Coordinator(GroupCoordinator):  # type: ignore[misc]
    """The engine's own side of a group, which leaves as whoever it was when it joins as another.

    It joins first: a group that is left by all that it knows is empty, and a broker of defaults gives
    an empty group 3 s to gather, and 3 s more for another that comes meanwhile.
    """

    _ghosts: Ghosts

    @classmethod
    def adopt(cls, coordinator: GroupCoordinator, ghosts: Ghosts) -> None:
        """Take over one that a consumer of the engine made for itself."""
        coordinator.__class__ = cls
        coordinator._ghosts = ghosts

    def reset_generation(self) -> None:
        self.remember()
        super().reset_generation()

    def remember(self) -> None:
        """This member may end without another word."""
        # A static member takes its own place again, by its name.
        if self._group_instance_id is None:
            self._ghosts.add(self.member_id)

    async def _send_req(self, request: Any) -> Any:
        if isinstance(request, JoinGroupRequest) and self._others:
            return await self._join_and_leave_as_others(super()._send_req(request))
        answer = await super()._send_req(request)
        if isinstance(request, LeaveGroupRequest):
            self._heard_of(request, answer)
        return answer

    async def _join_and_leave_as_others(self, question: Coroutine[Any, Any, Any]) -> Any:
        """Whoever joins has let go of all that it held, also as one of them."""
        joining, leaving = asyncio.ensure_future(question), None
        try:
            # What is not answered soon waits for the other members of the group, and so for them.
            if not (await asyncio.wait({joining}, timeout=SOON_SECONDS))[0]:
                leaving = asyncio.ensure_future(self._leave_in_the_end())
                await joining
                await asyncio.wait({leaving}, timeout=SOON_SECONDS)
            return await joining
        finally:
            joining.cancel()
            if leaving is not None:
                leaving.cancel()

    async def _leave_in_the_end(self) -> None:
        while True:
            # Who waits for one connection gets it in turn: by then the question to join has been written.
            if (node := self.coordinator_id) is not None:
                await self._client.ready(node, group=ConnectionGroup.COORDINATION)
            with suppress(KafkaError):  # again in a moment; else their sessions end
                await self._leave_as_others()
            if not self._others:
                return
            await asyncio.sleep(SOON_SECONDS)

    @property
    def _others(self) -> list[str]:
        """Who we were, and may still be counted as."""
        return [id for id in self._ghosts if id != self.member_id]

    async def _maybe_leave_group(self) -> None:
        await super()._maybe_leave_group()
        with suppress(KafkaError):  # then their sessions end, or they are left before we join again
            await self._leave_as_others()

    async def _leave_as_others(self) -> None:
        """Nobody may hold anything as one of them. Raises `KafkaError` where no answer comes."""
        for id in self._others:
            await self._leave_as(id)

    async def _leave_as(self, id: str) -> None:
        if (node := self.coordinator_id) is None:
            raise GroupCoordinatorNotAvailableError
        request = LeaveGroupRequest(self.group_id, id)
        # A broker takes one question of a connection at a time, and that of the group waits to join.
        self._heard_of(request, await self._client.send(node, request, group=ConnectionGroup.DEFAULT))

    def _heard_of(self, request: Any, answer: Any) -> None:
        if for_code(answer.error_code) not in _NOT_THE_COORDINATOR:
            self._ghosts.left(request._member_id)
