"""Where reading starts: committed offsets, the reset policy, and logs that are not what they were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple, TypeAlias

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position, Unreadable
from convex_messaging_fastapi.transport.kafka.engine import Member, TopicId
from convex_messaging_fastapi.transport.kafka.offsets.marks import unmarked


class Move(NamedTuple):
    """From an offset that the log does not have, or not as the one it was, to one that it has.

    Says what is gone. `lost` counts the offsets that are known to be passed over. `anew`: the topic is
    another one, whatever offsets it has.
    """

    offset: int
    to: int
    lost: int
    sentence: str
    anew: bool = False

    @property
    def is_another_log(self) -> bool:
        """Whether what was read so far tells nothing of the log there is now."""
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
    """Over a batch that was given up."""
    lost = batch.end - batch.first
    sentence = f"{lost} offsets could not be read and are passed over: {batch.first}..{batch.end - 1}"
    return Move(batch.first, batch.end, lost, f"{sentence}; {batch.why}")


class Starts(NamedTuple):
    """Where reading starts: where the group had come to, or where its policy has placed it.

    `moves` are the placed ones of which the group had come to somewhere in a log that is no more.
    `topic_ids` are the topics that all this is about, `strange` others of which the group has commits.
    """

    stored: dict[TopicPartition, Position]
    placed: dict[TopicPartition, Position]
    moves: Moves
    topic_ids: TopicIds
    strange: frozenset[TopicId] = frozenset()

    def beside(self, other: Starts) -> Starts:
        """Both, for different partitions of the same topics."""
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
    """The group's positions; where it has none, the begin or (`latest`) the end of the log.

    `stored` are positions that the group is known to have had. Kafka forgets them with their topic:
    where it knows none any more the log was made anew. One attempt. Raises `KafkaError`.
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
    """What a group has stored, `ours` of the topics there are; `old` of others that bore their names."""

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
    """What is known of an assignment whose logs may be others by now.

    `held` are its next offsets, `topic_ids` those of its topics when it began, `stored` as for `starts`.
    """

    held: Mapping[TopicPartition, int]
    topic_ids: TopicIds
    stored: Mapping[TopicPartition, int]
    policy: str


def recreated(member: Member, topic_ids: TopicIds) -> set[str]:
    """Topics that are known to be others now than those that bore their names."""
    return {
        topic
        for topic, before in topic_ids.items()
        if before is not None and before.is_not(member.topic_id(topic))
    }


async def moves(
    member: Member, where: TopicPartition, reading: LastKnown, doubt: Callable[[], Awaitable[None]]
) -> Moves:
    """Where to go on in `where`, and in what else was cut or made anew with it. Raises `KafkaError`.

    A leader that was frozen, and deposed meanwhile, knows less than its successor: when it alone says
    that the log was cut, `doubt` is awaited, and the question asked again.
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
    # A log that was cut tells for itself, with what was known of it.
    if not found.is_another_log and await _is_another(member, where, reading):
        found = decide_anew(offset, first[where], end[where], policy)
    if not found.is_another_log:
        return {where: found}
    return {where: found} | await _moves_beside(member, where, reading)


async def _is_another(member: Member, where: TopicPartition, reading: LastKnown) -> bool:
    """Whether the topic has another id, or Kafka has forgotten what the group had stored of it.

    It does so with a topic that is deleted.
    """
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
    """How many records behind `offset` the engine has heard of."""
    return max(0, (member.end_seen(where) or 0) - offset)


def decide_move(offset: int, first: int, end: int, policy: str, unread: int = 0) -> Move:
    """`first` and `end` are where the log begins and ends now.

    `unread` offsets are known to have stood behind `offset` before.
    """
    if offset < first:
        # Also under `latest`: what retention has left is still unread.
        gone = first - offset
        return Move(
            offset, first, gone, f"{gone} records are gone before they were read: {offset}..{first - 1}"
        )
    if offset <= end:
        # A leader that was deposed and did not know it yet had less than its successor.
        return Move(offset, offset, 0, f"the log has offset {offset} after all")
    to, skipped = _by_policy(first, end, policy)
    said = f"the log ends at {end}, before offset {offset} that was to be read: it was cut or made anew"
    return Move(offset, to, unread + skipped, f"{said}, {unread} known records unread, {skipped} skipped")


def _by_policy(first: int, end: int, policy: str) -> tuple[int, int]:
    """Where to begin in a log of which nothing was read, and how many offsets that skips."""
    return (end, end - first) if policy == "latest" else (first, 0)


def decide_anew(offset: int, first: int, end: int, policy: str) -> Move:
    """The group had come to `offset` in a log that is no more. `first` and `end` are of the new one."""
    to, skipped = _by_policy(first, end, policy)
    sentence = f"the topic was made anew after it had been read to {offset}, {skipped} skipped"
    return Move(offset, to, skipped, sentence, anew=True)
