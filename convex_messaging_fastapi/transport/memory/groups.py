"""A consumer group of the memory broker as a state machine without I/O: members, generations, offsets.

Rebalances are eager. A group is *stable* while every member holds a grant. When a member joins,
leaves or is expelled, the group *forms* anew: every member is asked to hand its grant back, and
once the last one has, the next generation is dealt out. Whoever is late is expelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, GroupDescription, GroupMember, Position
from convex_messaging_fastapi.transport.memory.topics import Topic


@dataclass(frozen=True, slots=True)
class Terms:
    """What a member asks of its group. Seconds on the broker's clock.

    `drain_seconds` is how long it takes to hand a grant back, `rebalance_seconds` how long the
    group waits for that, `session_seconds` how long for a member that has ceased to fetch.
    """

    from_latest: bool
    drain_seconds: float
    rebalance_seconds: float
    session_seconds: float


@dataclass(frozen=True, slots=True)
class Grant:
    """The partitions that one member holds in one generation, and where it starts."""

    epoch: int
    positions: Mapping[TopicPartition, Position]


@dataclass(slots=True, eq=False)
class Member:
    """One member. Its grant is `None` while it waits for the next generation."""

    topics: frozenset[str]
    terms: Terms
    from_begin: frozenset[str] = frozenset()
    """Topics that it reads from their beginning where its terms would decide."""
    grant: Grant | None = None
    fetching: bool = False
    last_seen: float = 0.0


class Standing(Enum):
    """How a member stands with its group."""

    EXPELLED = auto()
    ASKED_BACK = auto()
    WAITING = auto()
    HOLDING = auto()


class Group:
    """`topics` is the broker's own, for partition counts and ends."""

    def __init__(self, topics: Mapping[str, Topic]) -> None:
        self.offsets: dict[TopicPartition, Position] = {}
        self.changes: int = 0
        """Grows whenever a member may have something to do."""
        self._topics = topics
        self._members: list[Member] = []
        self._generation = 0
        self._forms_until: float | None = None

    def standing(self, member: Member) -> Standing:
        if member not in self._members:
            return Standing.EXPELLED
        if member.grant is None:
            return Standing.WAITING
        return Standing.HOLDING if self._forms_until is None else Standing.ASKED_BACK

    def join(self, member: Member, now: float) -> None:
        member.grant, member.last_seen = None, now
        self._members.append(member)
        self._form(now)

    def leave(self, member: Member, now: float) -> None:
        if member in self._members:
            self._remove([member], now)

    def topic_made(self, topic: str, now: float) -> None:
        """Whoever waits for it is given its share in the next generation."""
        if any(topic in member.topics for member in self._members):
            self._form(now)

    def describe(self, client_id: str) -> GroupDescription:
        if not self._members:
            return GroupDescription("Empty" if self.offsets else "Dead")
        state = "Stable" if self._forms_until is None else "PreparingRebalance"
        return GroupDescription(
            state, tuple(GroupMember(client_id, "memory", member.topics) for member in self._members)
        )

    def hand_back(self, member: Member) -> None:
        """The member holds nothing any more and waits for the next generation."""
        member.grant = None
        self._deal_when_all_wait()

    def expel_overdue(self, now: float) -> None:
        """Remove members that are late to hand back, or that have ceased to fetch."""
        overdue = [member for member in self._members if now >= self._overdue_at(member)]
        if overdue:
            self._remove(overdue, now)

    def next_overdue(self) -> float:
        """When somebody will have to be expelled, unless he moves; infinity when nobody."""
        return min((self._overdue_at(member) for member in self._members), default=float("inf"))

    def commit(self, member: Member, epoch: int, offsets: Mapping[TopicPartition, Position]) -> CommitOutcome:
        grant = member.grant
        if member not in self._members or grant is None or grant.epoch != epoch:
            return CommitOutcome.STALE
        if not offsets.keys() <= grant.positions.keys():
            return CommitOutcome.STALE
        self.offsets.update(offsets)
        return CommitOutcome.COMMITTED

    def idle(self) -> bool:
        """Whether the group is stable and has committed everything that its members are to read."""
        grants = [member.grant for member in self._members]
        return all(grant is not None and self._is_finished(grant) for grant in grants)

    def _overdue_at(self, member: Member) -> float:
        must_hand_back = self._forms_until is not None and member.grant is not None
        back_by = self._forms_until if self._forms_until is not None and must_hand_back else float("inf")
        # Inside a fetch it is alive, however long that lasts: Kafka's heartbeats go on then, too.
        seen_by = float("inf") if member.fetching else member.last_seen + member.terms.session_seconds
        return min(back_by, seen_by)

    def _remove(self, members: Iterable[Member], now: float) -> None:
        for member in members:
            self._members.remove(member)
            member.grant = None
        self._form(now)

    def _form(self, now: float) -> None:
        if self._forms_until is None:
            patience = max((member.terms.rebalance_seconds for member in self._members), default=0.0)
            self._forms_until = now + patience
        self.changes += 1
        self._deal_when_all_wait()

    def _deal_when_all_wait(self) -> None:
        if self._forms_until is None or any(member.grant is not None for member in self._members):
            return
        self._forms_until = None
        self._generation += 1
        counts = {name: len(topic.logs) for name, topic in self._topics.items()}
        shares = deal(counts, [member.topics for member in self._members])
        for member, share in zip(self._members, shares, strict=True):
            member.grant = Grant(self._generation, {where: self._start(member, where) for where in share})
        self.changes += 1

    def _start(self, member: Member, where: TopicPartition) -> Position:
        end = self._topics[where.topic].end_offsets()[where.partition]
        stored = self.offsets.get(where)
        if stored is None:
            from_latest = member.terms.from_latest and where.topic not in member.from_begin
            return Position(end if from_latest else 0)
        return stored._replace(end=end) if stored.metadata else stored

    def _is_finished(self, grant: Grant) -> bool:
        return all(
            self.offsets.get(where, start).offset >= self._topics[where.topic].end_offsets()[where.partition]
            for where, start in grant.positions.items()
        )


def deal(counts: Mapping[str, int], members: Sequence[frozenset[str]]) -> list[list[TopicPartition]]:
    """Each topic's partitions in unbroken ranges, one for each member that wants the topic."""
    shares: list[list[TopicPartition]] = [[] for _ in members]
    for topic, count in sorted(counts.items()):
        takers = [share for share, wanted in zip(shares, members, strict=True) if topic in wanted]
        for partition in range(count if takers else 0):
            takers[partition * len(takers) // count].append(TopicPartition(topic, partition))
    return shares
