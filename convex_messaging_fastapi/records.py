"""What travels: records read and written, and what a handler is told of one.

Topics here are names on the wire, prefix included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, Self

Headers = tuple[tuple[str, bytes | None], ...]
"""Kafka's headers: ordered, names may repeat, values may be null."""


MAX_HEADERS = 256
"""How many headers of a record are kept when it is read; the last of them then counts those left out."""

OURS = "x-convex-"
"""What the names of headers begin with that only this package writes."""

HEADERS_LEFT_OUT = f"{OURS}headers-left-out"

MAX_OURS = 8
"""How many more are kept where the first is ours: a copy of a record that had `MAX_HEADERS`."""

HEADER_BYTES = 150
"""The bytes that a header takes in memory beside its name and value."""


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Record(NamedTuple):
    """One record as it was read. `timestamp_ms` is Unix milliseconds, -1 when the log has none."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def topic_partition(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class OutgoingRecord(NamedTuple):
    """One record to be written, already bytes. A null value is a tombstone."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class OutgoingRecords:
    """The records of one `publish_many`, each built when it is accessed, and equal each time.

    Keys and values are kept as flat lists of bytes, which the garbage collector does not traverse; ten
    thousand nested tuples it would scan at every collection. `sizes` are bytes, as `size_of` counts.
    """

    __slots__ = ("_record_of", "keys", "sizes")

    def __init__(
        self,
        keys: Sequence[bytes | None],
        sizes: Sequence[int],
        record_of: Callable[[int], OutgoingRecord],
    ) -> None:
        self.keys: Sequence[bytes | None] = keys
        self.sizes: Sequence[int] = sizes
        self._record_of = record_of

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> OutgoingRecord:
        return self._record_of(index)

    def those(self, indices: Iterable[int]) -> Iterator[OutgoingRecord]:
        """The records of these, each built when it is reached."""
        return map(self._record_of, indices)


class Lease:
    """One ownership of partitions, from an assignment to its revocation.

    The worker ends it; deliveries made under it look at it.
    """

    __slots__ = ("epoch", "revoked")

    def __init__(self, epoch: int) -> None:
        self.epoch: int = epoch
        self.revoked: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Delivery:
    """What a handler is told of a message, if it asks by annotating a parameter with this type.

    `topic` is the name on the wire. `attempt` starts at 1 and counts in this process only: after a crash
    or a rebalance it starts again. Header names and values are as received and may be anything; of more
    than 256 headers only the first are kept. `headers` is a safe view: the last value of a name wins, bytes
    that are not UTF-8 are replaced, nulls are left out. `timestamp` is UTC, a millisecond before 1970 if the
    log has none. Of a message that is replayed all this is as it was when it failed, and headers that begin
    with `x-convex-replay-` tell of the replay. `subscription` is whose delivery it is, `{group}/{id}`. `repr`
    tells where the message is, and nothing of its content.
    """

    record: Record
    attempt: int = 1
    lease: Lease = field(default_factory=lambda: Lease(0), compare=False)
    subscription: str = field(default="", compare=False)

    @classmethod
    def for_test(
        cls,
        topic: str = "test",
        *,
        partition: int = 0,
        offset: int = 0,
        key: str | bytes | None = None,
        value: bytes | None = b"{}",
        headers: Mapping[str, str | bytes | None] | None = None,
        message_id: str | None = "test-message",
        correlation_id: str | None = "test-message",
        timestamp: datetime | None = None,
        attempt: int = 1,
        revoked: bool = False,
        subscription: str = "test/handler",
    ) -> Self:
        """A delivery to call a handler with in a unit test, without a bus.

        `topic` is the name on the wire, prefix included. The two ids are headers, as the bus writes
        them, and come before `headers`; `None` leaves one out, as other producers may. `timestamp`
        is now by default, and is rounded to a millisecond. `value` is not checked against the message,
        which the test hands over itself.
        """
        ids = {"message-id": message_id, "correlation-id": correlation_id}
        told = {name: id for name, id in ids.items() if id is not None} | dict(headers or {})
        at = datetime.now(UTC) if timestamp is None else timestamp
        record = Record(
            topic,
            partition,
            offset,
            round(at.timestamp() * 1000),
            _utf8(key),
            value,
            tuple((name, _utf8(text)) for name, text in told.items()),
        )
        lease = Lease(0)
        lease.revoked = revoked
        return cls(record, attempt, lease, subscription)

    def __repr__(self) -> str:
        where = f"{self.topic}/{self.partition}/{self.offset}"
        return f"Delivery({where}, attempt={self.attempt})"

    @property
    def topic(self) -> str:
        return self.record.topic

    @property
    def partition(self) -> int:
        return self.record.partition

    @property
    def offset(self) -> int:
        return self.record.offset

    @property
    def key(self) -> bytes | None:
        return self.record.key

    @property
    def timestamp(self) -> datetime:
        return utc(self.record.timestamp_ms)

    @property
    def headers(self) -> Mapping[str, str]:
        return {
            name: value.decode("utf-8", "replace") for name, value in self.record.headers if value is not None
        }

    @property
    def correlation_id(self) -> str | None:
        return header_text(self.record.headers, "correlation-id")

    @property
    def message_id(self) -> str | None:
        return header_text(self.record.headers, "message-id")

    @property
    def revoked(self) -> bool:
        """Whether the partition has been taken from this process: another may be handling it now."""
        return self.lease.revoked


_blank: Callable[[type[Delivery]], Delivery] = object.__new__
_set_record, _set_attempt, _set_lease, _set_subscription = (
    Delivery.__dict__[name].__set__ for name in ("record", "attempt", "lease", "subscription")
)


def delivery_of(record: Record, attempt: int, lease: Lease, subscription: str) -> Delivery:
    """A `Delivery`, in half the time that the constructor of a frozen dataclass takes: one an attempt."""
    made = _blank(Delivery)
    _set_record(made, record)
    _set_attempt(made, attempt)
    _set_lease(made, lease)
    _set_subscription(made, subscription)
    return made


def size_of(record: OutgoingRecord) -> int:
    """Bytes of key, value and headers; of a header's name, its characters."""
    key, value, headers = record
    size = (len(key) if key else 0) + (len(value) if value else 0)
    # Not by the function below: its call would cost as much as this loop.
    for name, header in headers:
        size += len(name)
        if header:
            size += len(header)
    return size


def size_of_headers(headers: Headers) -> int:
    """The headers' part of `size_of`."""
    return sum(len(name) + len(value or b"") for name, value in headers)


def header_text(headers: Headers, wanted: str) -> str | None:
    """The last value of a header as text, bytes that are not UTF-8 replaced; `None` if there is none."""
    for name, value in reversed(headers):
        if name == wanted and value is not None:
            return value.decode("utf-8", "replace")
    return None


def kept_headers(headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    """All headers, or the first of more than `MAX_HEADERS` and one that tells how many were left out.

    Where the first is ours, `MAX_OURS` more may be kept. A header of a few bytes costs its sender nothing,
    and takes a hundred times as much in memory.
    """
    most = MAX_HEADERS + (MAX_OURS if headers and headers[0][0].startswith(OURS) else 0)
    if len(headers) <= most:
        return tuple(headers)
    left_out = len(headers) - most + 1
    return (*headers[: most - 1], (HEADERS_LEFT_OUT, b"%d" % left_out))


def sizes_of(records: Iterable[Record]) -> list[int]:
    """About how many bytes each takes in memory: key, value and headers.

    It runs for each message, and calls of other functions would cost more than the loops.
    """
    sizes = []
    for _, _, _, _, key, value, headers in records:
        size = (len(key) if key else 0) + (len(value) if value else 0)
        for name, held in headers:
            size += len(name) + HEADER_BYTES
            if held:
                size += len(held)
        sizes.append(size)
    return sizes


_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def _utf8(text: str | bytes | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text


def utc(timestamp_ms: int) -> datetime:
    """Unix milliseconds as a time in UTC; 1970 for a time that `datetime` cannot hold."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return _FIRST
