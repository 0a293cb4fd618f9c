"""Which partitions are held, and under which member id: the gate for records and commits."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto

from aiokafka import ConsumerRebalanceListener

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import AssignmentListener, Position
from convex_messaging_fastapi.transport.kafka.engine import Identity, Member, TopicId, theirs
from convex_messaging_fastapi.transport.kafka.offsets.positions import recreated

THRICE = 3

LOST = float("-inf")
"""The deadline of a revocation that has happened already."""


class Phase(Enum):
    """Of an assignment, in this order; one that is taken away while it is pending is never open."""

    PENDING = auto()  # its start positions are looked up
    OPEN = auto()  # records are delivered
    CLOSING = auto()  # it is being revoked, and commits are still taken
    OVER = auto()


class Holding:
    """One assignment, from the moment the group gave it to its end."""

    def __init__(
        self,
        epoch: int,
        member: Member,
        partitions: Iterable[TopicPartition],
        moved: dict[TopicPartition, Position],
    ) -> None:
        self.epoch = epoch
        self.member = member
        self.who: Identity = member.identity
        self.partitions: frozenset[TopicPartition] = frozenset(partitions)
        self.moved = moved
        """Start positions that are known already and differ from what the group has stored."""
        self.next: dict[TopicPartition, int] = {}
        """Our own next offsets, by what was delivered; the engine's positions may differ."""
        self.topic_ids: dict[str, TopicId | None] = {}
        """The ids of its topics; `None` for one that is not known."""
        self.cut: set[TopicPartition] = set()
        """Partitions whose topic was made anew, or whose log was cut: nothing of them is committed."""
        self.phase = Phase.PENDING

    @property
    def is_pending(self) -> bool:
        return self.phase is Phase.PENDING

    @property
    def open(self) -> bool:
        return self.phase is Phase.OPEN

    @property
    def closing(self) -> bool:
        return self.phase is Phase.CLOSING

    @property
    def over(self) -> bool:
        return self.phase is Phase.OVER

    def go_to(self, where: TopicPartition, offset: int) -> None:
        """Deliver from `offset` on next."""
        self.next[where] = offset
        self.member.seek(where, offset)

    def topics_now(self) -> dict[str, TopicId | None]:
        """The ids of the assigned topics as they are now."""
        return {topic: self.member.topic_id(topic) for topic in {where.topic for where in self.partitions}}

    def learn_topics(self) -> None:
        """Note ids that were not known when reading started and are known now."""
        for topic, known in self.topic_ids.items():
            if known is None:
                self.topic_ids[topic] = self.member.topic_id(topic)

    def recreated(self) -> set[str]:
        """The topics that are known to have been made anew since they were assigned."""
        return recreated(self.member, self.topic_ids)


class Ownership:
    """What this consumer holds now. Tells the listener, one call at a time."""

    def __init__(self, clock: Clock, drain_seconds: float) -> None:
        self._clock = clock
        self._drain_seconds = drain_seconds
        self._listener: AssignmentListener = _Nobody()
        self._epochs = itertools.count(1)
        self._telling = asyncio.Lock()
        self.epoch: int = 0
        self.holding: Holding | None = None
        self.changed: asyncio.Event = asyncio.Event()
        self.accepting: bool = True
        """False once stopping has begun: a rebalance may still end then, and must not reopen."""
        self.membership_lost_at: deque[float] = deque(maxlen=THRICE)
        """When the group was last found to have taken our membership away."""

    def listen(self, listener: AssignmentListener) -> None:
        self._listener = listener

    def take(
        self,
        member: Member,
        partitions: Iterable[TopicPartition],
        moved: dict[TopicPartition, Position] | None = None,
    ) -> Holding | None:
        """Begin a new, pending holding; `None` when nothing is taken any more."""
        if not self.accepting:
            return None
        self.holding = Holding(next(self._epochs), member, partitions, moved or {})
        self.changed.set()
        return self.holding

    def announce(self, holding: Holding, positions: dict[TopicPartition, Position]) -> None:
        """Open the gate: tell the listener what it holds and from where on."""
        holding.next = {where: position.offset for where, position in positions.items()}
        holding.phase = Phase.OPEN
        self.epoch = holding.epoch
        self._listener.assigned(holding.epoch, positions)

    async def release(self, *, lost: bool) -> Holding | None:
        """Close the gate for records, let the listener finish and commit, then close it for commits.

        Returns what this call released.
        """
        async with self._telling:
            holding = self.holding
            if holding is None:
                return None
            announced, holding.phase = holding.open, Phase.CLOSING
            self.changed.set()
            try:
                membership_lost = holding.member.identity != holding.who
                if membership_lost and not lost:
                    self.membership_lost_at.append(self._clock.now())
                if announced:
                    await self._tell(holding, lost or membership_lost)
            finally:
                holding.phase = Phase.OVER
                if self.holding is holding:
                    self.holding = None
            return holding

    def stop(self) -> None:
        """Hold nothing from now on, without telling the listener."""
        self.accepting = False
        if self.holding is not None:
            self.holding.phase = Phase.OVER
        self.holding = None
        self.changed.set()

    def lost_membership_thrice(self, within: float) -> bool:
        """Whether our membership was taken away three times in the last `within` seconds."""
        times = self.membership_lost_at
        return len(times) == THRICE and self._clock.now() - times[0] < within

    async def _tell(self, holding: Holding, lost: bool) -> None:
        deadline = LOST if lost else self._clock.now() + self._drain_seconds
        try:
            await self._listener.revoked(holding.epoch, deadline)
        except Exception as error:  # noqa: BLE001 - its traceback is told
            reports.defect(f"the owner of epoch {holding.epoch} did not let go of it properly", error)


class _Nobody:
    """The listener before `listen` is called."""

    def assigned(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None: ...

    async def revoked(self, epoch: int, deadline: float) -> None: ...


class EngineListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """What the engine calls for one member."""

    def __init__(self, ownership: Ownership, member: Member, taken: Callable[[Holding], None]) -> None:
        self._ownership, self._member, self._taken = ownership, member, taken
        self.gone = False
        """Whether the member was given up. It may still end a rebalance then, and must take nothing."""

    async def on_partitions_revoked(self, revoked: object) -> None:
        holding = self._ownership.holding
        if holding is not None and holding.member is self._member:
            with theirs():
                await self._ownership.release(lost=False)

    def on_partitions_assigned(self, assigned: Iterable[tuple[str, int]]) -> None:
        if self.gone:
            return
        # Returns at once: there are no heartbeats while this runs.
        holding = self._ownership.take(self._member, (TopicPartition(*where) for where in assigned))
        if holding is not None:
            with theirs():
                self._taken(holding)
