"""Decides about rows: which are sent now, as which records, and what becomes of each after that."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from convex_messaging_fastapi.errors import PublishError, PublishUnknown
from convex_messaging_fastapi.outbox.rows import OUTBOX_ID, read_headers
from convex_messaging_fastapi.outbox.store import Fetched
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords, size_of


@dataclass(slots=True)
class Ready:
    """The rows of one topic with their records; `broken` are those that cannot be read, with the reason."""

    rows: list[Fetched] = field(default_factory=list)
    records: list[OutgoingRecord] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)

    def listed(self) -> OutgoingRecords:
        records = self.records
        keys, sizes = [record.key for record in records], [size_of(record) for record in records]
        return OutgoingRecords(keys, sizes, records.__getitem__)


def ready(rows: Iterable[Fetched]) -> Ready:
    """The records of these rows. Each tells the number of its row, which rises within a key."""
    result = Ready()
    for row in rows:
        try:
            headers = read_headers(row.headers)
        except ValueError as error:
            result.broken[row.id] = f"{type(error).__name__}: {error}"
            continue
        record = OutgoingRecord(row.key, row.value, (*headers, (OUTBOX_ID, b"%d" % row.id)))
        result.rows.append(row)
        result.records.append(record)
    return result


def fairly(rows: Sequence[Fetched], limit: int) -> Sequence[Fetched]:
    """At most about `limit` of them, the first of each lane: as many of each as there is room for."""
    if len(rows) <= limit:
        return rows
    share = max(1, limit // len({row.lane for row in rows}))
    taken: Counter[int] = Counter()
    chosen = []
    for row in rows:
        if taken[row.lane] < share:
            taken[row.lane] += 1
            chosen.append(row)
    return chosen


def by_topic(rows: Iterable[Fetched]) -> Mapping[str, list[Fetched]]:
    topics: dict[str, list[Fetched]] = defaultdict(list)
    for row in rows:
        topics[row.topic].append(row)
    return topics


@dataclass(slots=True)
class Sorted:
    """What became of rows: `trouble` is the first error that may pass, of what stays to be published."""

    delivered: list[int] = field(default_factory=list)
    parked: dict[int, str] = field(default_factory=dict)
    trouble: PublishError | None = None


def sort(rows: Sequence[Fetched], outcomes: Sequence[Receipt | PublishError]) -> Sorted:
    """A row whose message can never be written is set aside; all others without a receipt stay."""
    result = Sorted()
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, Receipt):
            result.delivered.append(row.id)
        elif outcome.may_retry or isinstance(outcome, PublishUnknown):
            result.trouble = result.trouble or outcome
        else:
            result.parked[row.id] = told(outcome)
    return result


def told(error: BaseException) -> str:
    """An error as a row keeps it: no payload is in ours."""
    return f"{type(error).__name__}: {error}"
