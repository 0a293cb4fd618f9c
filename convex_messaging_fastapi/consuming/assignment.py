"""What one assignment gave us: partitions with their ledgers, and the jobs made of their records."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from convex_messaging_fastapi.consuming.holds import Holds
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.records import Lease, Record, TopicPartition


@dataclass(frozen=True, slots=True)
class Seen:
    """What the cluster said of a partition when somebody asked for its lag, at this time of the clock."""

    at: float
    end: int
    time_lag_seconds: float | None


class OwnedPartition:
    """One partition while one assignment lasts. It waits while there are `holds`.

    A job that outlives the assignment can only touch this object, which nobody commits any more.
    """

    __slots__ = ("_batches", "end", "holds", "lease", "ledger", "seen", "topic_partition")

    def __init__(self, topic_partition: TopicPartition, lease: Lease, ledger: Ledger, holds: Holds) -> None:
        self.topic_partition: TopicPartition = topic_partition
        self.lease: Lease = lease
        self.ledger: Ledger = ledger
        self.holds: Holds = holds
        self.end: int | None = None  # of its log, when records of it were last fetched
        self.seen: Seen | None = None  # where nobody has asked yet
        self._batches: deque[tuple[int, float]] = deque()

    def note_batch(self, now: float) -> None:
        """Remember when everything up to the ledger's position had been handed out."""
        self._forget_finished_batches()
        self._batches.append((self.ledger.position, now))

    def oldest_since(self) -> float | None:
        """When the oldest unfinished record was handed out, to within one fetch. Changes nothing."""
        if (oldest := self.ledger.oldest) is None:
            return None
        return next((since for end, since in self._batches if end > oldest), None)

    def _forget_finished_batches(self) -> None:
        committable = self.ledger.committable
        while self._batches and self._batches[0][0] <= committable:
            self._batches.popleft()

    @property
    def held(self) -> str | None:
        """Why nothing more of it is fetched, if so."""
        hold = self.holds.first
        return None if hold is None else hold.reason


@dataclass(frozen=True, slots=True)
class Assignment:
    """Everything that came with one epoch."""

    epoch: int
    lease: Lease
    partitions: Mapping[TopicPartition, OwnedPartition] = field(default_factory=dict)


class Job:
    """One record for one subscription. `attempts` counts tries that failed so far.

    `size` is the bytes that it is counted as while it is buffered: key, value and headers. `offset` is
    the one in the log of `owned`: the record of a replay says where the original stood.
    """

    __slots__ = ("attempts", "burials", "failure", "offset", "owned", "record", "single", "size")

    def __init__(self, record: Record, owned: OwnedPartition, size: int) -> None:
        self.record: Record = record
        self.offset: int = record.offset
        self.size: int = size
        self.owned: OwnedPartition = owned
        self.attempts: int = 0
        self.single: bool = False  # a member of a batch whose attempts are spent: it runs alone
        self.burials: int = 0  # tries to bury it that failed
        self.failure: Failure | None = None  # set once its attempts are spent

    @property
    def cause(self) -> Failure:
        """Why it is to end; only for a job whose attempts are spent."""
        assert self.failure is not None  # noqa: S101 - an ending comes after its attempts
        return self.failure


class Stray(Job):
    """A job that is for no subscription here: whichever one is handed it only has it buried."""

    __slots__ = ()

    def __init__(self, job: Job, record: Record, failure: Failure) -> None:
        super().__init__(record, job.owned, job.size)
        self.offset: int = job.offset
        self.failure: Failure | None = failure


def by_ownership(jobs: Iterable[Job]) -> Iterator[tuple[OwnedPartition, Iterator[Job]]]:
    """Consecutive jobs of one ownership of a partition, grouped."""
    return groupby(jobs, attrgetter("owned"))
