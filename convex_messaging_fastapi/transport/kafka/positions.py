"""Where reading starts: committed offsets, the reset policy, and offsets that the log does not have."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position
from convex_messaging_fastapi.transport.kafka.engine import Member


class Move(NamedTuple):
    """From an offset that the log does not have to one that it has; says what is gone."""

    to: int
    backwards: bool
    sentence: str


async def starts(
    member: Member, partitions: Collection[TopicPartition], policy: str
) -> dict[TopicPartition, Position]:
    """The group's positions; where it has none, the begin or (`latest`) the end of the log.

    One attempt. Raises `KafkaError`.
    """
    if not partitions:
        return {}
    committed = await member.committed(partitions)
    fresh = [where for where in partitions if where not in committed]
    if not fresh:
        return committed
    ends = await member.ends(fresh, last=policy == "latest")
    return committed | {where: Position(offset) for where, offset in ends.items()}


async def move(member: Member, where: TopicPartition, offset: int, policy: str) -> Move:
    """Where to go on instead of at `offset`, which the log does not have. Raises `KafkaError`."""
    first = (await member.ends([where], last=False))[where]
    end = (await member.ends([where], last=True))[where]
    return decide_move(offset, first, end, policy)


def decide_move(offset: int, first: int, end: int, policy: str) -> Move:
    """`first` and `end` are where the log begins and ends now."""
    if offset < first:
        # Also under `latest`: what retention has left is still unread.
        return Move(
            first, False, f"{first - offset} records are gone before they were read: {offset}..{first - 1}"
        )
    to = end if policy == "latest" else first
    return Move(
        to,
        to < offset,
        f"the log ends at {end}, before offset {offset} that was to be read: it was cut or made anew",
    )
