"""Where reading starts: committed offsets, the reset policy, and offsets that the log does not have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple, TypeAlias

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position
from convex_messaging_fastapi.transport.kafka.engine import Member


class Move(NamedTuple):
    """From an offset that the log does not have to one that it has; says what is gone.

    `lost` counts the offsets that are known to be passed over.
    """

    offset: int
    to: int
    lost: int
    sentence: str

    @property
    def backwards(self) -> bool:
        return self.to < self.offset

    @property
    def is_loss(self) -> bool:
        return self.to != self.offset


Moves: TypeAlias = dict[TopicPartition, Move]


def targets(moves: Moves) -> dict[TopicPartition, Position]:
    """Where reading goes on."""
    return {where: Position(moved.to) for where, moved in moves.items()}


class Starts(NamedTuple):
    """Where reading starts: where the group had come to, or where its policy has placed it.

    `moves` are the placed ones of which the group had come to somewhere in a log that is no more.
    """

    stored: dict[TopicPartition, Position]
    placed: dict[TopicPartition, Position]
    moves: Moves


async def starts(
    member: Member,
    partitions: Collection[TopicPartition],
    policy: str,
    stored: Mapping[TopicPartition, int],
) -> Starts:
    """The group's positions; where it has none, the begin or (`latest`) the end of the log.

    `stored` are positions that the group is known to have had. Kafka forgets them with their topic:
    where it knows none any more the log was made anew. One attempt. Raises `KafkaError`.
    """
    if not partitions:
        return Starts({}, {}, {})
    committed = await member.committed(partitions)
    fresh = [where for where in partitions if where not in committed]
    ends = await member.ends(fresh, last=policy == "latest") if fresh else {}
    moves = {where: decide_anew(stored[where], end, policy) for where, end in ends.items() if where in stored}
    return Starts(committed, {where: Position(offset) for where, offset in ends.items()}, moves)


async def moves(
    member: Member,
    where: TopicPartition,
    held: Mapping[TopicPartition, int],
    policy: str,
    stored: Mapping[TopicPartition, int],
    doubt: Callable[[], Awaitable[None]],
) -> Moves:
    """Where to go on in `where`, and in what else was cut or made anew with it. Raises `KafkaError`.

    `held` are the next offsets of the whole assignment, `stored` as for `starts`. A leader that was
    frozen, and deposed meanwhile, knows less than its successor: when it alone says that the log was
    cut, `doubt` is awaited, and the question asked again.
    """
    found = await _moves(member, where, held, policy, stored)
    if found[where].backwards and not await _is_forgotten(member, where, stored):
        await doubt()
        found = await _moves(member, where, held, policy, stored)
    return found


async def _moves(
    member: Member,
    where: TopicPartition,
    held: Mapping[TopicPartition, int],
    policy: str,
    stored: Mapping[TopicPartition, int],
) -> Moves:
    offset = held[where]
    unread = _unread(member, where, offset)
    first, end = await _bounds(member, [where])
    found = decide_move(offset, first[where], end[where], policy, unread)
    if not found.is_loss and await _is_forgotten(member, where, stored):
        found = decide_anew(offset, (end if policy == "latest" else first)[where], policy)
    if not found.backwards:
        return {where: found}
    others = {other: held[other] for other in held if other.topic == where.topic and other != where}
    return {where: found} | await _moves_beside(member, others, policy, stored)


async def _is_forgotten(member: Member, where: TopicPartition, stored: Mapping[TopicPartition, int]) -> bool:
    """Whether Kafka has forgotten what the group had stored, as it does with a topic that is deleted."""
    return where in stored and where not in await member.committed([where])


async def _bounds(
    member: Member, wanted: Collection[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Where logs begin, and where they end."""
    return await member.ends(wanted, last=False), await member.ends(wanted, last=True)


async def _moves_beside(
    member: Member, held: Mapping[TopicPartition, int], policy: str, stored: Mapping[TopicPartition, int]
) -> Moves:
    """A topic is made anew in all its partitions, of which the engine finds out one after another.

    Meanwhile a commit would carry old offsets into new logs, for whoever comes next to begin there.
    """
    if not held:
        return {}
    unread = {where: _unread(member, where, offset) for where, offset in held.items()}
    first, end = await _bounds(member, held.keys())
    known = await member.committed(held)
    to = end if policy == "latest" else first
    cut = {
        where: decide_move(offset, first[where], end[where], policy, unread[where])
        for where, offset in held.items()
        if offset > end[where]
    }
    forgotten = held.keys() & stored.keys() - known.keys() - cut.keys()
    return cut | {where: decide_anew(held[where], to[where], policy) for where in forgotten}


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
    to, skipped = (end, end - first) if policy == "latest" else (first, 0)
    said = f"the log ends at {end}, before offset {offset} that was to be read: it was cut or made anew"
    return Move(offset, to, unread + skipped, f"{said}, {unread} known records unread, {skipped} skipped")


def decide_anew(offset: int, to: int, policy: str) -> Move:
    """The group had come to `offset` in a log that is no more."""
    skipped = to if policy == "latest" else 0
    return Move(
        offset, to, skipped, f"the topic was made anew after it had been read to {offset}, {skipped} skipped"
    )
