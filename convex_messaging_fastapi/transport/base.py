"""The seam between the machine and whatever carries its records: Kafka, or this process's memory.

Every method here is implemented twice, so it is as narrow as its callers need. Faults of the cluster
raise `TopicUnavailable` where a method says so, and nothing else: consumers recover behind `fetch`,
producers answer with a verdict. All waits are seconds on the bus's clock.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.status import ContactStatus, LossStatus
from convex_messaging_fastapi.status import Problem as Problem  # the machine takes it from its seam
from convex_messaging_fastapi.transport.transactional import TransactionalProducer


@dataclass(frozen=True, slots=True)
class Loss:
    """Offsets of a partition that were to be read and that its log does not have.

    Reading was to go on at `from_offset` and went on at `to_offset`, which is lower where the log
    was cut or made anew. `records` counts the offsets known to be passed over: more may have stood
    in what was cut off, and fewer where the log had gaps. `at` is a time on the clock.
    """

    where: TopicPartition
    from_offset: int
    to_offset: int
    records: int
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Contact:
    """What a transport knows of its own health, from memory.

    `last` is the clock's time of the last good answer from the cluster, `None` before the first.
    `member` says whether a consumer belongs to its group (always true for a producer).
    `detail` may name hosts and is for authorised eyes only; it never holds a secret.
    `rebuilds` counts how often the engine was replaced.
    `losses` are a consumer's latest, `lost` is the number of records in all of them and in older ones.
    `refusals` are the cluster's words on partitions whose latest commit was not stored.
    `alive` is false once nothing looks after the engine any more, which only a restart mends.
    """

    last: float | None
    member: bool
    problem: Problem | None = None
    detail: str = ""
    rebuilds: int = 0
    losses: tuple[Loss, ...] = ()
    lost: int = 0
    alive: bool = True
    refusals: Mapping[TopicPartition, str] = field(default_factory=dict)


def contact_status(contact: Contact, now: float) -> ContactStatus:
    """The same as a snapshot shows it, at `now` on the clock."""
    return ContactStatus(
        age_seconds=None if contact.last is None else max(0.0, now - contact.last),
        member=contact.member,
        problem=None if contact.problem is None else contact.problem.value,
        detail=contact.detail,
        rebuilds=contact.rebuilds,
    )


def loss_status(loss: Loss, now: float) -> LossStatus:
    """The same as a snapshot shows it, at `now` on the clock."""
    return LossStatus(
        topic=loss.where.topic,
        partition=loss.where.partition,
        from_offset=loss.from_offset,
        to_offset=loss.to_offset,
        records=loss.records,
        reason=loss.reason,
        age_seconds=max(0.0, now - loss.at),
    )


class Position(NamedTuple):
    """A next offset - the first that is not finished - and what is remembered with it.

    `end` is where the log ended when the partition was assigned, so that what the metadata says of
    offsets above it is known to be wrong. It is asked for where there is metadata, and `None` where
    it is not known.
    """

    offset: int
    metadata: str = ""
    end: int | None = None


ENOUGH_RECORDS = 250
"""A fetch ends after the partition that reaches this count. The objects of about twice as many records
make the garbage collector run, by CPython's defaults, which costs a fifth of the throughput."""


class Unreadable(NamedTuple):
    """A batch that could not be read in so many `tries`: the offsets from `first` on, below `end`.

    Nobody was given any of them, though records of the same batch may stand before `first`. `error` is
    the type of what was raised, `why` a sentence about it.
    """

    first: int
    end: int
    error: str
    why: str
    tries: int = 1

    @property
    def span(self) -> tuple[int, int]:
        return self.first, self.end


class Fetched(NamedTuple):
    """What one fetch brought. `positions` are next offsets and pass gaps that hold no record.

    `unreadable` are batches that are in the way of their partitions and were tried often enough, at
    every fetch for as long as they are; see `pass_over`. `ends` says of each partition that brought
    records where its readable log ended then: it may have grown since.
    """

    epoch: int
    records: Mapping[TopicPartition, Sequence[Record]]
    positions: Mapping[TopicPartition, int]
    unreadable: Mapping[TopicPartition, Unreadable] = {}
    ends: Mapping[TopicPartition, int] = {}


class CommitOutcome(Enum):
    """What became of one partition in a commit."""

    COMMITTED = "committed"
    FAILED = "failed"  # certainly not stored; the same commit may be tried again
    REFUSED = "refused"  # certainly not stored, and trying again soon is of no use: somebody must mend it
    STALE = "stale"  # the assignment it belongs to is over; never to be tried again
    UNKNOWN = "unknown"  # may be stored


class AssignmentListener(Protocol):
    """Whoever holds partitions. Both calls come from the transport, never two at once."""

    def assigned(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None:
        """These partitions, and no others, are now held from these positions on.

        Called before the first record of `epoch` is fetched, possibly with no partitions.
        """
        ...

    async def revoked(self, epoch: int, deadline: float) -> None:
        """Everything of `epoch` is being taken away: finish, commit, let go, and return.

        `deadline` is a time on the clock. When it has passed already the partitions are lost:
        another may hold them, and commits answer `STALE`.
        """
        ...


class ConsumerTransport(Protocol):
    """One member of one group. One task calls `fetch`; `commit` may run beside it."""

    async def start(
        self, topics: Iterable[str], listener: AssignmentListener, optional: Iterable[str] = ()
    ) -> None:
        """Begin to join the group for these topics. Returns at once; the cluster may be away.

        Those that are `optional` may be missing, or forbidden, without a word. They are read soon after
        they are there and, where the group has no commit, from their beginning, whatever else is.
        """
        ...

    async def fetch(self, wanted: Mapping[TopicPartition, int], wait: float) -> Fetched:
        """Up to so many records of each wanted partition, waiting at most `wait` for the first.

        Takes them in the order of `wanted`, and may leave the last ones out once it has
        `ENOUGH_RECORDS`: begin with another the next time.
        Must always be called, also with nothing wanted: it is what keeps the member alive. During
        a rebalance or an outage it may take longer than `wait` or return empty early.
        """
        ...

    def pass_over(self, epoch: int, where: TopicPartition, batch: Unreadable) -> None:
        """Let reading go on behind a batch that `fetch` told of, and count it as a loss.

        The next `fetch` tells the position. Nothing happens where the batch is not in the way any more.
        """
        ...

    async def commit(
        self, epoch: int, offsets: Mapping[TopicPartition, Position], deadline: float
    ) -> Mapping[TopicPartition, CommitOutcome]:
        """One attempt to store these positions for the group; what became of each of them.

        One partition's trouble is its own: what is said of the others is as if it had been left out.
        """
        ...

    async def ends(self, wanted: Collection[TopicPartition]) -> Mapping[TopicPartition, int] | None:
        """Where these logs end now, of any topic; without those of which it is not known at once.

        It asks each leader once; for a topic that is not known it asks for metadata instead. `None` while
        there is nobody to ask, such as before the first contact. Raises `TransportError`.
        """
        ...

    async def stop(self, deadline: float) -> None:
        """Leave the group and let go of everything. The listener is not called."""
        ...

    def contact(self) -> Contact: ...


class Verdict(Enum):
    WRITTEN = "written"
    TOO_LARGE = "too_large"  # certainly not written: the first record is larger than its log takes
    REFUSED = "refused"  # certainly not written, and sending it again cannot help
    FAILED = "failed"  # certainly not written; sending it again may help
    UNKNOWN = "unknown"  # may be written, or may land later


class Sent(NamedTuple):
    """What became of the first `taken` records handed to `send`. `reason` never holds payload."""

    taken: int
    verdict: Verdict
    base_offset: int = -1
    timestamp_ms: int = -1
    reason: str = ""


class ProducerTransport(Protocol):
    """The way to the log. At most one `send` a partition at a time."""

    async def start(self) -> None:
        """Begin to connect. Returns at once; the cluster may be away."""
        ...

    async def partition_count(self, topic: str) -> int:
        """How many partitions `topic` has; waits for the answer as long as the caller lets it.

        Raises `TopicUnavailable`, with what to do, once the cluster has said that there is no such topic,
        or that these credentials may not see it.
        """
        ...

    async def send(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        """Write as many leading records as fit one batch, and answer once their fate is known.

        May wait through an outage for as long as it lasts. Records of one partition keep the
        order of the calls.
        """
        ...

    def send_now(
        self, where: TopicPartition, record: OutgoingRecord, answered: Callable[[Sent], None]
    ) -> bool:
        """Begin to write one record at once, without a turn of the loop, where nothing is in the way.

        `answered` is called later, once; it must not raise. `False` when something is in the way:
        then nothing was begun, and `send` knows what to do.
        """
        ...

    def complaint(self, where: TopicPartition) -> str:
        """Why the cluster has not taken yet what is being sent there; empty where it has not said."""
        ...

    async def stop(self, deadline: float) -> None: ...

    def contact(self) -> Contact: ...


class NewTopic(NamedTuple):
    """A topic to be created. `None` leaves the choice to the cluster."""

    name: str
    partitions: int | None = None
    replication_factor: int | None = None
    config: Mapping[str, str] = {}


class GroupMember(NamedTuple):
    """Who belongs to a group: as it names itself, from where, and the topics that it subscribes to."""

    client_id: str
    host: str
    topics: frozenset[str]


class GroupDescription(NamedTuple):
    """A group as its coordinator knows it. `state` is Kafka's word, "Dead" for a group that it has not.

    While members come and go ("PreparingRebalance") the topics of some may not be known yet.
    """

    state: str
    members: tuple[GroupMember, ...] = ()


class GroupsTransport(Protocol):
    """Whoever asks about groups joins none. Every call raises `TransportError`."""

    async def names(self) -> frozenset[str]:
        """Every group that the cluster has and that may be seen."""
        ...

    async def describe(self, group: str) -> GroupDescription:
        """Who belongs to it now."""
        ...


class AdminTransport(Protocol):
    async def ensure_topic(self, topic: NewTopic) -> None:
        """Make sure `topic` exists; one that exists is left as it is.

        Raises `TopicUnavailable` with the cluster's reason when it cannot be created.
        """
        ...

    async def largest_message(self, topic: str) -> int | None:
        """The bytes of the largest batch that the topic takes; `None` where the cluster does not say."""
        ...

    async def retention_ms(self, topic: str) -> int | None:
        """How long the topic keeps a record at least, -1 for ever; `None` where the cluster does not say."""
        ...


class LogRange(NamedTuple):
    """The offsets of one partition from `first` on, below `end`."""

    first: int
    end: int


class LogReader(Protocol):
    """Reads logs without a group: it joins nothing, commits nothing, and creates no topic.

    What belongs to a transaction is seen once that is committed; a log ends, here, where the first one
    begins that is still open. Every call raises `TransportError` where the cluster refuses, or does not
    answer.
    """

    async def ranges(self, topic: str) -> Mapping[TopicPartition, LogRange]:
        """What there is of each partition now; empty where there is no such topic."""
        ...

    def read(self, ranges: Mapping[TopicPartition, LogRange]) -> AsyncGenerator[Sequence[Record], None]:
        """The records of these ranges: lists of at most `ENOUGH_RECORDS`, each of one partition, in order.

        Offsets that hold no record are passed, and where a range goes on beyond its log nobody waits for
        more. Whoever leaves it early closes it (`aclosing`).
        """
        ...

    async def committed(self, group: str) -> Mapping[TopicPartition, Position]:
        """What a group has committed; empty where it never did, or Kafka has forgotten it."""
        ...


class Transport(Protocol):
    """Everything one bus needs. Building these does no I/O."""

    def producer(self) -> ProducerTransport: ...

    def consumer(self, group: str) -> ConsumerTransport: ...

    def admin(self) -> AdminTransport: ...

    def log_reader(self, *, uncommitted: bool = False, few: bool = False) -> LogReader:
        """Where `uncommitted`, no open transaction is waited for, nor a topic that has just been made.

        `few` is for whoever reads a record or two of each partition: no more is fetched than for that.
        """
        ...

    def groups(self) -> GroupsTransport: ...

    def transactional(self, id: str, timeout_seconds: float) -> TransactionalProducer:
        """A new producer for this id; see `TransactionalProducer.claim`.

        A transaction that is open for longer than the timeout is aborted by the cluster, which looks
        only every so often: up to 10 s later.
        """
        ...
