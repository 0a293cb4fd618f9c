"""How much may be fetched next: decides, from what is buffered, what is uncommitted and what is held.

The buffer is shared by all partitions of a worker. Where there are several, one takes no more than
half of the room that is free, and the last quarter is kept for partitions that hold nothing: one that
fails, is slow or is held can fill up the rest, and the others go on. A partition that holds nothing may
always take a record, so the buffer can pass its limits by one record a partition.
"""

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

KEPT_SHARE = 1 / 4
"""How much of the buffer is for partitions that hold nothing, where there are several."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_uncommitted` is offsets a partition; the buffer's limits are for the whole worker."""

    max_uncommitted: int
    max_buffer_records: int
    max_buffer_bytes: int


@dataclass(frozen=True, slots=True)
class Free:
    """What of the buffer is free, in records and bytes, and what of it is kept for who holds nothing."""

    records: int
    size: int
    kept_records: int
    kept_size: int

    @property
    def records_for_holders(self) -> int:
        return self.records - self.kept_records

    @property
    def is_full(self) -> bool:
        """Whether nobody who holds something may take more."""
        return self.records_for_holders <= 0 or self.size - self.kept_size < PARTITION_FETCH_BYTES


def buffered(partitions: Collection[OwnedPartition]) -> tuple[int, int]:
    """Records and bytes that were handed out and are not finished."""
    return (
        sum(owned.ledger.unfinished for owned in partitions),
        sum(owned.ledger.bytes_unfinished for owned in partitions),
    )


def free(partitions: Collection[OwnedPartition], limits: Limits) -> Free:
    records, size = buffered(partitions)
    kept = KEPT_SHARE if len(partitions) > 1 else 0.0
    return Free(
        limits.max_buffer_records - records,
        limits.max_buffer_bytes - size,
        int(limits.max_buffer_records * kept),
        int(limits.max_buffer_bytes * kept),
    )


def records_short(partitions: Collection[OwnedPartition], limits: Limits) -> int:
    """How many records more must be finished until there is room that is worth a fetch; none when 0 or less.

    A fetch costs about as much as ten records, whether it brings one or a hundred. Only records are
    looked at: a buffer that is full by its bytes lacks none.
    """
    worth_a_fetch = min(int(limits.max_buffer_records * REFILL_SHARE), FETCH_RECORDS)
    return worth_a_fetch - free(partitions, limits).records_for_holders


def is_open(owned: OwnedPartition) -> bool:
    """Whether more of a partition may be handed out, as far as it is concerned itself."""
    return owned.held is None and owned.ledger.room > 0


def wanted(
    partitions: Collection[OwnedPartition], limits: Limits, turn: int = 0
) -> Mapping[TopicPartition, int]:
    """How many records of each partition to fetch, so that no limit is passed but as said above.

    The room that is left is shared evenly by the partitions that may take any; each reserves what
    one fetch can bring of it. They go in turn, beginning with number `turn`; see `next_turn`.
    """
    room = free(partitions, limits)
    takers = [owned for owned in _in_turn(partitions, turn) if is_open(owned)]
    empty = [owned for owned in takers if not owned.ledger.unfinished]
    holders = [owned for owned in takers if owned.ledger.unfinished]
    for_holders = max(0, room.records_for_holders)
    fits = max(0, room.size - room.kept_size) // PARTITION_FETCH_BYTES
    holders = holders[: min(for_holders, fits)]
    is_empty = room.records == limits.max_buffer_records
    fits = max(int(is_empty), room.size // PARTITION_FETCH_BYTES - len(holders))
    # Whatever its bytes: else what is larger than the room would wait for all the others.
    shares = dict.fromkeys(empty[fits:], 1)
    takes = len(holders) + len(empty) - len(shares)
    share = _share(room.records - len(shares), takes, len(partitions))
    shares.update(dict.fromkeys(empty[:fits], share))
    shares.update(dict.fromkeys(holders, max(1, min(share, for_holders // max(1, len(holders))))))
    return {
        owned.topic_partition: min(shares[owned], owned.ledger.room) for owned in takers if owned in shares
    }


def _share(room: int, takers: int, partitions: int) -> int:
    """An even share of the room, though never more than half of it where there are others."""
    shares = max(takers, 2 if partitions > 1 else 1)
    return max(1, min(FETCH_RECORDS, room // shares))


def of_empty_ones(
    want: Mapping[TopicPartition, int], partitions: Mapping[TopicPartition, OwnedPartition]
) -> Mapping[TopicPartition, int]:
    """What is wanted of partitions that hold nothing: that is worth a fetch however little it is."""
    return {where: share for where, share in want.items() if not partitions[where].ledger.unfinished}


def filled_by(partitions: Collection[OwnedPartition], limits: Limits) -> OwnedPartition | None:
    """The partition that holds at least half of a full buffer, so that the others have little room."""
    if len(partitions) < 2 or not free(partitions, limits).is_full:
        return None
    records, size = (max(1, each) for each in buffered(partitions))

    def share(owned: OwnedPartition) -> float:
        return max(owned.ledger.unfinished / records, owned.ledger.bytes_unfinished / size)

    most = max(partitions, key=share)
    return most if share(most) >= 1 / 2 else None


def next_turn(
    turn: int,
    partitions: Iterable[TopicPartition],
    want: Mapping[TopicPartition, int],
    got: Container[TopicPartition],
) -> int:
    """With which to begin next: the one after the last that records came from.

    Those behind it may not have been looked at. Where nothing came, all that were wanted were. Of whom
    one record is wanted does not count beside others: their turn is still to come.
    """
    shared = [where for where, share in want.items() if share > 1] or [*want]
    last = next((where for where in reversed(shared) if where in got), None)
    return turn + len(shared) if last is None else 1 + [*partitions].index(last)


def _in_turn(partitions: Collection[OwnedPartition], turn: int) -> list[OwnedPartition]:
    first = turn % max(1, len(partitions))
    return [*islice(partitions, first, None), *islice(partitions, first)]
