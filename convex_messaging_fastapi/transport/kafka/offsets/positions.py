"""Where reading starts: committed offsets, the reset policy, and logs that are not what they were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple, TypeAlias

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position, Unreadable
from convex_messaging_fastapi.transport.kafka.engine import Member, TopicId
from convex_messaging_fastapi.transport.kafka.offsets.marks import unmarked


class Move(NamedTuple):
    """A forced change of position: `offset` was removed, or its topic made anew; reading goes on at `to`.

    `lost` counts the offsets that are known to be skipped; `sentence` says what happened. `anew`: the topic
    was made anew, whatever offsets it has.
    """

    offset: int
    to: int
    lost: int
    sentence: str
    anew: bool = False

    @property
    def is_another_log(self) -> bool:
        """Whether offsets read so far mean nothing in the log as it is now."""
        return self.anew or self.to < self.offset

    @property
    def is_loss(self) -> bool:
        return self.anew or self.to != self.offset


Moves: TypeAlias = dict[TopicPartition, Move]
TopicIds: TypeAlias = Mapping[str, TopicId | None]


def targets(moves: Moves) -> dict[TopicPartition, Position]:
    """Where reading goes on."""
    return {where: Position(moved.to) for where, moved in moves.items()}


def passed(batch: Unreadable) -> Move:
    """The move over a batch that was given up."""
    lost = batch.end - batch.first
    sentence = f"{lost} offsets could not be read and are passed over: {batch.first}..{batch.end - 1}"
    return Move(batch.first, batch.end, lost, f"{sentence}; {batch.why}")


class Starts(NamedTuple):
    """Where reading starts: at `stored` offsets, or where the reset policy has `placed` the group.

    `moves`: those of `placed` for which the group had committed an offset in an earlier topic of that name.
    `topic_ids` are the ids of the topics now; `strange` are other ids for which the group has commits.
    """

    stored: dict[TopicPartition, Position]
    placed: dict[TopicPartition, Position]
    moves: Moves
    topic_ids: TopicIds
    strange: frozenset[TopicId] = frozenset()

    def beside(self, other: Starts) -> Starts:
        """This and the starts of other partitions of the same topics."""
        return Starts(
            self.stored | other.stored,
            self.placed | other.placed,
            self.moves | other.moves,
            self.topic_ids,
            self.strange | other.strange,
        )


async def starts(
    member: Member,
    partitions: Collection[TopicPartition],
    topic_ids: TopicIds,
    policy: str,
    stored: Mapping[TopicPartition, int],
) -> Starts:
    """The stored offsets of a group; without one, the beginning or (`latest`) the end of the log.

    `stored` has offsets that the group is known to have stored. Kafka deletes them with their topic, so if
    it has none now, the topic was made anew. One attempt. Raises `KafkaError`.
    """
    if not partitions:
        return Starts({}, {}, {}, topic_ids)
    found = await _committed(member, partitions, topic_ids)
    fresh = [where for where in partitions if where not in found.ours]
    first, end = await _bounds(member, fresh) if fresh else ({}, {})
    had = {where: found.old[where].offset if where in found.old else stored.get(where) for where in fresh}
    moves = {
        where: decide_anew(at, first[where], end[where], policy)
        for where, at in had.items()
        if at is not None
    }
    placed = {where: Position(_by_policy(first[where], end[where], policy)[0]) for where in fresh}
    return Starts(found.ours, placed, moves, topic_ids, frozenset(old.topic for old in found.old.values()))


class _Old(NamedTuple):
    offset: int
    topic: TopicId


class _Found(NamedTuple):
    """What a group has stored: `ours` for the topics of now, `old` for earlier topics of the same names."""

    ours: dict[TopicPartition, Position]
    old: dict[TopicPartition, _Old]


async def _committed(member: Member, wanted: Collection[TopicPartition], topic_ids: TopicIds) -> _Found:
    found = _Found({}, {})
    for where, position in (await member.committed(wanted)).items():
        metadata, topic = unmarked(position.metadata)
        if topic is not None and topic.is_not(topic_ids.get(where.topic)):
            found.old[where] = _Old(position.offset, topic)
        else:
            found.ours[where] = Position(position.offset, metadata)
    return found


class LastKnown(NamedTuple):
    """What is known of an assignment whose topics may have been made anew.

    `held` has its next offsets, `topic_ids` the ids of its topics when it began, `stored` is as for `starts`.
    """

    held: Mapping[TopicPartition, int]
    topic_ids: TopicIds
    stored: Mapping[TopicPartition, int]
    policy: str


def recreated(member: Member, topic_ids: TopicIds) -> set[str]:
    """The topics that are known to have been made anew since `topic_ids`."""
    return {
        topic
        for topic, before in topic_ids.items()
        if before is not None and before.is_not(member.topic_id(topic))
    }


async def moves(
    member: Member, where: TopicPartition, reading: LastKnown, doubt: Callable[[], Awaitable[None]]
) -> Moves:
    """Where to go on in `where`, and in other partitions that were cut or made anew. Raises `KafkaError`.

    A leader that was frozen and replaced meanwhile has a shorter log than its successor. If only a leader
    says that the log was cut, `doubt` is awaited, and the cluster asked again.
    """
    found = await _moves(member, where, reading)
    if found[where].is_another_log and not await _is_another(member, where, reading):
        await doubt()
        found = await _moves(member, where, reading)
    return found


async def _moves(member: Member, where: TopicPartition, reading: LastKnown) -> Moves:
    offset, policy = reading.held[where], reading.policy
    first, end = await _bounds(member, [where])
    found = decide_move(offset, first[where], end[where], policy, _unread(member, where, offset))
    # A cut shows in the log itself, and what was known of it is counted.
    if not found.is_another_log and await _is_another(member, where, reading):
        found = decide_anew(offset, first[where], end[where], policy)
    if not found.is_another_log:
        return {where: found}
    return {where: found} | await _moves_beside(member, where, reading)


async def _is_another(member: Member, where: TopicPartition, reading: LastKnown) -> bool:
    """Whether the topic has another id, or the group's stored offset is gone, as with a deleted topic."""
    if where.topic in recreated(member, reading.topic_ids):
        return True
    return (
        where in reading.stored and where not in (await _committed(member, [where], reading.topic_ids)).ours
    )


async def _bounds(
    member: Member, wanted: Collection[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Where logs begin, and where they end."""
    return await member.ends(wanted, last=False), await member.ends(wanted, last=True)


async def _moves_beside(member: Member, one: TopicPartition, reading: LastKnown) -> Moves:
    """A topic is made anew in all its partitions, of which the engine finds out one after another.

    Meanwhile a commit would carry old offsets into new logs, for whoever comes next to begin there.
    """
    held = {where: at for where, at in reading.held.items() if where.topic == one.topic and where != one}
    if not held:
        return {}
    unread = {where: _unread(member, where, offset) for where, offset in held.items()}
    first, end = await _bounds(member, held.keys())
    cut = {
        where: decide_move(offset, first[where], end[where], reading.policy, unread[where])
        for where, offset in held.items()
        if offset > end[where]
    }
    another = held.keys() - cut.keys()
    if one.topic not in recreated(member, reading.topic_ids):
        another &= reading.stored.keys() - (await _committed(member, another, reading.topic_ids)).ours.keys()
    return cut | {
        where: decide_anew(held[where], first[where], end[where], reading.policy) for where in another
    }


def _unread(member: Member, where: TopicPartition, offset: int) -> int:
    """How many records the log is known to have had from `offset` on."""
    return max(0, (member.end_seen(where) or 0) - offset)


def decide_move(offset: int, first: int, end: int, policy: str, unread: int = 0) -> Move:
    """Where to go on in a log that begins at `first` and ends at `end`.

    `unread` counts the offsets that it is known to have had from `offset` on.
    """
    if offset < first:
        # Under `latest`, too: the records that retention has left are still unread.
        gone = first - offset
        return Move(
            offset, first, gone, f"{gone} records are gone before they were read: {offset}..{first - 1}"
        )
    if offset <= end:
        # The answer before came from a leader that had been replaced and did not know it.
        return Move(offset, offset, 0, f"the log has offset {offset} after all")
    to, skipped = _by_policy(first, end, policy)
    said = f"the log ends at {end}, before offset {offset} that was to be read: it was cut or made anew"
    return Move(offset, to, unread + skipped, f"{said}, {unread} known records unread, {skipped} skipped")


def _by_policy(first: int, end: int, policy: str) -> tuple[int, int]:
    """Where the policy begins in a log, and how many offsets that skips."""
    return (end, end - first) if policy == "latest" else (first, 0)


def decide_anew(offset: int, first: int, end: int, policy: str) -> Move:
    """The group had read an earlier topic up to `offset`; `first` and `end` are of the new one."""
    to, skipped = _by_policy(first, end, policy)
    sentence = f"the topic was made anew after it had been read to {offset}, {skipped} skipped"
    return Move(offset, to, skipped, sentence, anew=True)
