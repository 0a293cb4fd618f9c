"""Old member ids of ours that the group may still count; it would wait for each until its session ends."""

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
"""A broker answers a join within this time if the group has no other member to wait for."""

REMEMBERED = 100
"""How many ids are kept, the latest; the sessions of older ones are long over."""


class Ghosts:
    """The ids of one group under which we may still be counted as members. Iterate to see them."""

    def __init__(self) -> None:
        self._ids: deque[str] = deque(maxlen=REMEMBERED)
        self._left: deque[str] = deque(maxlen=REMEMBERED)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._ids))

    def add(self, id: str) -> None:
        """We are no longer this member, and the group may not know."""
        if id and id not in self._left and id not in self._ids:
            self._ids.append(id)

    def left(self, id: str) -> None:
        """The group has removed this member."""
        self._left.append(id)
        if id in self._ids:
            self._ids.remove(id)


class Coordinator(GroupCoordinator):  # type: ignore[misc]
    """The engine's side of a group; when it joins under a new id, it leaves the group under its old ids.

    It joins first. A group whose last member leaves is empty, and a broker with default settings gives an
    empty group 3 s to gather, and 3 s more for each member that comes meanwhile.
    """

    _ghosts: Ghosts

    @classmethod
    def adopt(cls, coordinator: GroupCoordinator, ghosts: Ghosts) -> None:
        """Make a coordinator of ours from the one that a consumer of the engine made for itself."""
        coordinator.__class__ = cls
        coordinator._ghosts = ghosts

    def reset_generation(self) -> None:
        self.remember()
        super().reset_generation()

    def remember(self) -> None:
        """This member may end without leaving the group."""
        # A static member takes its place again by its instance id.
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
        """Safe, because whoever joins holds nothing any more, under any of its ids."""
        joining, leaving = asyncio.ensure_future(question), None
        try:
            # A join without an answer by then waits for the group's other members, our old ids among them.
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
            # Callers get a connection in turn, so once we have it the join has been written.
            if (node := self.coordinator_id) is not None:
                await self._client.ready(node, group=ConnectionGroup.COORDINATION)
            with suppress(KafkaError):  # tried again in a moment; at the latest their sessions end
                await self._leave_as_others()
            if not self._others:
                return
            await asyncio.sleep(SOON_SECONDS)

    @property
    def _others(self) -> list[str]:
        """Our old ids that the group may still count."""
        return [id for id in self._ghosts if id != self.member_id]

    async def _maybe_leave_group(self) -> None:
        await super()._maybe_leave_group()
        with suppress(KafkaError):  # their sessions end, or we leave as them when we join again
            await self._leave_as_others()

    async def _leave_as_others(self) -> None:
        """For callers that hold nothing under the old ids. Raises `KafkaError` when no answer comes."""
        for id in self._others:
            await self._leave_as(id)

    async def _leave_as(self, id: str) -> None:
        if (node := self.coordinator_id) is None:
            raise GroupCoordinatorNotAvailableError
        request = LeaveGroupRequest(self.group_id, id)
        # A broker serves one request of a connection at a time, and the group's own waits for the join.
        self._heard_of(request, await self._client.send(node, request, group=ConnectionGroup.DEFAULT))

    def _heard_of(self, request: Any, answer: Any) -> None:
        if for_code(answer.error_code) not in _NOT_THE_COORDINATOR:
            self._ghosts.left(request._member_id)
