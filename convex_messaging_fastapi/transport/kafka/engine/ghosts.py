"""Members of ours that nobody answers for any more: the group would wait for each until its session ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest

_NOT_THE_COORDINATOR = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
"""Answers of a broker that cannot say whether a member has left."""


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
    """The engine's own side of a group, which leaves as whoever it was before it joins as another."""

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
        if isinstance(request, JoinGroupRequest):
            # Whoever joins has let go of all that it held.
            await self._leave_as_others()
        answer = await super()._send_req(request)
        if isinstance(request, LeaveGroupRequest) and for_code(answer.error_code) not in _NOT_THE_COORDINATOR:
            self._ghosts.left(request._member_id)
        return answer

    async def _maybe_leave_group(self) -> None:
        await super()._maybe_leave_group()
        with suppress(KafkaError):  # then their sessions end, or they are left before we join again
            await self._leave_as_others()

    async def _leave_as_others(self) -> None:
        """Nobody may hold anything as one of them. Raises `KafkaError`, as a question to join does."""
        for id in self._ghosts:
            if id != self.member_id:
                await self._send_req(LeaveGroupRequest(self.group_id, id))
