"""Makes the topics that an action writes to, and waits until the group reads its new one."""

from __future__ import annotations

from collections.abc import Iterable

from convex_messaging_fastapi.clock import sleep
from convex_messaging_fastapi.errors import RefusalReason, ReplayRefused, TopicUnavailable, TransportError
from convex_messaging_fastapi.operations.replaying.planning import Plan
from convex_messaging_fastapi.parts import Parts
from convex_messaging_fastapi.transport.base import LogReader, NewTopic, Problem

MOST_PARTITIONS = 12
WAIT_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.5


class ReplayTopics:
    """Raises `ReplayRefused` where a topic cannot be made."""

    def __init__(self, parts: Parts, logs: LogReader) -> None:
        self._parts, self._logs = parts, logs
        self._groups = parts.transport.groups()

    async def ensure(self, plan: Plan, *, anyway: bool) -> None:
        await self.ensure_states()
        for group, topic in plan.topics.items():
            if topic is not None and not await self._is_there(topic):
                await self._make(await self._for_group(group, topic), "target_unwritable")
                if not anyway:
                    await self._until_read(group, topic)

    async def _is_there(self, topic: str) -> bool:
        try:
            return bool(await self._logs.ranges(topic))
        except TransportError as error:
            if error.problem != Problem.NOT_AUTHORIZED.value:
                raise
            # Whoever may write to a topic may see it.
            lacking = f"these credentials lack WRITE on topic {topic}"
            raise ReplayRefused("target_unwritable", lacking) from error

    async def ensure_states(self) -> None:
        """One partition: a total order of all that operators did. Compacted alone, so that no state goes
        before its letter."""
        topic = NewTopic(
            self._parts.naming.dead_letter_states,
            1,
            self._parts.settings.replication_factor,
            {"cleanup.policy": "compact"},
        )
        await self._make(topic, "states_unwritable")

    async def _for_group(self, group: str, topic: str) -> NewTopic:
        described = await self._groups.describe(group)
        read = {name for member in described.members for name in member.topics}
        partitions = min(MOST_PARTITIONS, max(await self._counts(read), default=1))
        like = self._parts.new_topic(topic)
        limit = str(self._parts.limits.dead_letter_bytes)
        return like._replace(partitions=partitions, config={**like.config, "max.message.bytes": limit})

    async def _counts(self, topics: Iterable[str]) -> list[int]:
        return [len(ranges) for topic in topics if (ranges := await self._logs.ranges(topic))]

    async def _make(self, topic: NewTopic, refused: RefusalReason) -> None:
        try:
            await self._parts.admin.ensure_topic(topic)
        except TopicUnavailable as error:
            raise ReplayRefused(refused, str(error)) from error

    async def _until_read(self, group: str, topic: str) -> None:
        """A group learns of its new topic within seconds, and reads it from its beginning."""
        clock = self._parts.clock
        give_up = clock.now() + WAIT_SECONDS
        while clock.now() < give_up:
            described = await self._groups.describe(group)
            if described.state == "Stable" and any(topic in member.topics for member in described.members):
                return
            await sleep(clock, _LOOK_EVERY_SECONDS)
        raise ReplayRefused(
            "not_subscribed", f"group {group!r} did not begin to read {topic} in {WAIT_SECONDS:.0f} s"
        )
