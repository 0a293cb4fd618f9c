"""How much may be fetched next: decides, from what is buffered, what is uncommitted and what is held."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from convex_messaging_fastapi.consuming.assignment import OwnedPartition
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS

FETCH_RECORDS = ENOUGH_RECORDS
"""The most records of one partition in one fetch."""

PARTITION_FETCH_BYTES = 1024 * 1024
"""What one fetch may bring of one partition: the engine's `max_partition_fetch_bytes`."""

REFILL_SHARE = 1 / 8
"""How much of a small buffer must be free to be worth a fetch; of a large one, what a fetch may bring."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_uncommitted` is offsets a partition; the buffer's limits are for the whole worker."""

    max_uncommitted: int
    max_buffer_records: int
    max_buffer_bytes: int


def buffered(partitions: Collection[OwnedPartition]) -> tuple[int, int]:
    """Records and bytes that were handed out and are not finished."""
    return (
        sum(owned.ledger.unfinished for owned in partitions),
        sum(owned.ledger.bytes_unfinished for owned in partitions),
    )


def lacking(partitions: Collection[OwnedPartition], limits: Limits) -> int:
    """How many records more must be finished until there is room that is worth a fetch; none when 0 or less.

    A fetch costs about as much as ten records, whether it brings one or a hundred. Only records are
    looked at: a buffer that is full by its bytes lacks none.
    """
    records, _ = buffered(partitions)
    worth_a_fetch = min(int(limits.max_buffer_records * REFILL_SHARE), FETCH_RECORDS)
    return worth_a_fetch - (limits.max_buffer_records - records)


def wanted(
    partitions: Collection[OwnedPartition], limits: Limits, turn: int = 0
) -> Mapping[TopicPartition, int]:
    """How many records of each partition to fetch, so that no limit can be passed.

    The room that is left is shared evenly by the partitions that may take any; each reserves what
    one fetch can bring of it. An empty buffer always takes one partition, whatever the byte limit.
    They go in turn, beginning with number `turn`; see `next_turn`.
    """
    records, size = buffered(partitions)
    open_ones = [
        owned for owned in _in_turn(partitions, turn) if owned.held is None and owned.ledger.room > 0
    ]
    reserved = max(limits.max_buffer_bytes - size, 0) // PARTITION_FETCH_BYTES
    if size == 0:
        reserved = max(reserved, 1)
    takers = open_ones[:reserved]
    room = limits.max_buffer_records - records
    if not takers or room <= 0:
        return {}
    share = max(1, min(FETCH_RECORDS, room // len(takers)))
    return {owned.topic_partition: min(share, owned.ledger.room) for owned in takers[:room]}


def next_turn(
    turn: int,
    partitions: Iterable[TopicPartition],
    want: Collection[TopicPartition],
    got: Container[TopicPartition],
) -> int:
    """With which to begin next: the one after the last that records came from.

    Those behind it may not have been looked at. Where nothing came, all that were wanted were.
    """
    last = next((where for where in reversed([*want]) if where in got), None)
    return turn + len(want) if last is None else 1 + [*partitions].index(last)


def _in_turn(partitions: Collection[OwnedPartition], turn: int) -> list[OwnedPartition]:
    first = turn % max(1, len(partitions))
    return [*islice(partitions, first, None), *islice(partitions, first)]
