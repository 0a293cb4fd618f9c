"""Where reading starts: committed offsets, the reset policy, and offsets that the log does not have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

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


class Starts(NamedTuple):
    """Where reading starts: where the group had come to, or where its policy has placed it.

    `moves` are the placed ones of which the group had come to somewhere in a log that is no more.
    """

    stored: dict[TopicPartition, Position]
    placed: dict[TopicPartition, Position]
    moves: dict[TopicPartition, Move]


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


async def move(member: Member, where: TopicPartition, offset: int, policy: str) -> Move:
    """Where to go on instead of at `offset`, which the log does not have. Raises `KafkaError`."""
    unread = max(0, (member.end_seen(where) or 0) - offset)
    first = (await member.ends([where], last=False))[where]
    end = (await member.ends([where], last=True))[where]
    return decide_move(offset, first, end, policy, unread)


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
    to, skipped = (end, end - first) if policy == "latest" else (first, 0)
    said = f"the log ends at {end}, before offset {offset} that was to be read: it was cut or made anew"
    return Move(offset, to, unread + skipped, f"{said}, {unread} known records unread, {skipped} skipped")


def decide_anew(offset: int, to: int, policy: str) -> Move:
    """The group had come to `offset` in a log that is no more."""
    skipped = to if policy == "latest" else 0
    return Move(
        offset, to, skipped, f"the topic was made anew after it had been read to {offset}, {skipped} skipped"
    )
