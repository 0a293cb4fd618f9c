"""Decides how much of each partition may be fetched next, from what is buffered, uncommitted and held.

All partitions of a worker share its buffer. Where there are several, one gets at most half of the free
room, and the last quarter is reserved for empty partitions, which have no record in the buffer: a
partition that fails, is slow or is held can fill the rest, and the others go on. An empty partition may
always fetch one record, so the buffer can exceed its limits by one record a partition.
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
"""The share of a small buffer that must be free to be worth a fetch; of a large one, `FETCH_RECORDS`."""

RESERVED_SHARE = 1 / 4
"""The share of the buffer that is reserved for empty partitions, where there are several."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_uncommitted` counts offsets of one partition; the buffer's limits are for the whole worker."""

    max_uncommitted: int
    max_buffer_records: int
    max_buffer_bytes: int


@dataclass(frozen=True, slots=True)
class Free:
    """The free room of the buffer, in records and bytes, and what of it is reserved for empty partitions."""

    records: int
    size: int
    reserved_records: int
    reserved_size: int

    @property
    def unreserved_records(self) -> int:
        return self.records - self.reserved_records

    @property
    def is_full(self) -> bool:
        """Whether only empty partitions may still fetch."""
        return self.unreserved_records <= 0 or self.size - self.reserved_size < PARTITION_FETCH_BYTES


def buffered(partitions: Collection[OwnedPartition]) -> tuple[int, int]:
    """Records and bytes that were handed out and are not finished."""
    return (
        sum(owned.ledger.unfinished for owned in partitions),
        sum(owned.ledger.bytes_unfinished for owned in partitions),
    )


def free(partitions: Collection[OwnedPartition], limits: Limits) -> Free:
    records, size = buffered(partitions)
    reserved = RESERVED_SHARE if len(partitions) > 1 else 0.0
    return Free(
        limits.max_buffer_records - records,
        limits.max_buffer_bytes - size,
        int(limits.max_buffer_records * reserved),
        int(limits.max_buffer_bytes * reserved),
    )


def records_short(partitions: Collection[OwnedPartition], limits: Limits) -> int:
    """How many more records must be finished before there is room worth a fetch; 0 or less if there is.

    A fetch costs about as much as handling ten records, whether it brings one or a hundred. Bytes are
    not looked at: a buffer that is full by its bytes alone is short of no records.
    """
    worth_a_fetch = min(int(limits.max_buffer_records * REFILL_SHARE), FETCH_RECORDS)
    return worth_a_fetch - free(partitions, limits).unreserved_records


def is_open(owned: OwnedPartition) -> bool:
    """Whether this partition may be fetched, whatever room the buffer has."""
    return owned.held is None and owned.ledger.room > 0


def wanted(
    partitions: Collection[OwnedPartition], limits: Limits, turn: int = 0
) -> Mapping[TopicPartition, int]:
    """How many records of each partition to fetch within the limits, as described above.

    The partitions that may fetch share the free room evenly; each sets aside the bytes that one fetch
    can bring. They take turns, beginning with number `turn`; see `next_turn`.
    """
    room = free(partitions, limits)
    takers = [owned for owned in _in_turn(partitions, turn) if is_open(owned)]
    empty = [owned for owned in takers if not owned.ledger.unfinished]
    filled = [owned for owned in takers if owned.ledger.unfinished]
    unreserved = max(0, room.unreserved_records)
    fits = max(0, room.size - room.reserved_size) // PARTITION_FETCH_BYTES
    filled = filled[: min(unreserved, fits)]
    is_empty = room.records == limits.max_buffer_records
    fits = max(int(is_empty), room.size // PARTITION_FETCH_BYTES - len(filled))
    # One record whatever its bytes: one larger than the room would wait for all the others.
    shares = dict.fromkeys(empty[fits:], 1)
    takes = len(filled) + len(empty) - len(shares)
    share = _share(room.records - len(shares), takes, len(partitions))
    shares.update(dict.fromkeys(empty[:fits], share))
    shares.update(dict.fromkeys(filled, max(1, min(share, unreserved // max(1, len(filled))))))
    return {
        owned.topic_partition: min(shares[owned], owned.ledger.room) for owned in takers if owned in shares
    }


def _share(room: int, takers: int, partitions: int) -> int:
    """An even share of the room, at most half of it where there are several partitions."""
    shares = max(takers, 2 if partitions > 1 else 1)
    return max(1, min(FETCH_RECORDS, room // shares))


def of_empty_ones(
    want: Mapping[TopicPartition, int], partitions: Mapping[TopicPartition, OwnedPartition]
) -> Mapping[TopicPartition, int]:
    """The part of `want` for empty partitions, which is worth a fetch however little it is."""
    return {where: share for where, share in want.items() if not partitions[where].ledger.unfinished}


def filled_by(partitions: Collection[OwnedPartition], limits: Limits) -> OwnedPartition | None:
    """The partition that fills at least half of a full buffer, so that the others have little room."""
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
    """The number of the partition to begin with next: the one after the last that brought records.

    A fetch may have ended before it reached those behind; one that brought nothing has reached all that
    were wanted. A partition of which one record was wanted does not count beside others: its turn is
    still to come.
    """
    shared = [where for where, share in want.items() if share > 1] or [*want]
    last = next((where for where in reversed(shared) if where in got), None)
    return turn + len(shared) if last is None else 1 + [*partitions].index(last)


def _in_turn(partitions: Collection[OwnedPartition], turn: int) -> list[OwnedPartition]:
    first = turn % max(1, len(partitions))
    return [*islice(partitions, first, None), *islice(partitions, first)]
