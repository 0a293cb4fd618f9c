"""The copy of a message whose dead letter is replayed: how it is written, and read back as the original."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from convex_messaging_fastapi.messages.topics import MAX_TOPIC_LENGTH, is_legal
from convex_messaging_fastapi.messages.validation_errors import one_line
from convex_messaging_fastapi.records import Headers, OutgoingRecord, Record

GROUP = "x-convex-replay-group"
HANDLER = "x-convex-replay-handler"
ORIGINAL = "x-convex-original"
COUNT = "x-convex-replay-count"
LETTER = "x-convex-replay-letter"
JOB = "x-convex-replay-job"
BY = "x-convex-replay-by"
TRACE = "x-convex-replay-traceparent"

MOVED: Mapping[str, str] = MappingProxyType(
    {name: f"{ORIGINAL}-{name}" for name in ("traceparent", "tracestate", "baggage")}
)
"""Headers of a trace, and what a copy calls them: whoever reads it must not go on with a trace long ended."""

MAX_JOB = MAX_BY = 64
MAX_LETTER = MAX_TOPIC_LENGTH + len("/2147483647/9223372036854775807")

MAX_TRACE = 55

_MOVED_BACK = {moved: name for name, moved in MOVED.items()}
_OF_OURS = frozenset({GROUP, HANDLER, ORIGINAL, COUNT, LETTER, JOB, BY, TRACE})
_TAKEN_OUT = _OF_OURS | _MOVED_BACK.keys()
_SHOWN = {COUNT: len("999999999"), LETTER: MAX_LETTER, JOB: MAX_JOB, TRACE: MAX_TRACE}
"""What the handler sees of ours, each with the most bytes that we write."""

_PLACE = re.compile(r"([^/]{1,249})/([0-9]{1,10})/([0-9]{1,19})/(-1|[0-9]{1,19})", re.ASCII)
_MOST_PARTITION, _MOST_OFFSET = 2**31 - 1, 2**63 - 1


@dataclass(frozen=True, slots=True)
class ReplayMarks:
    """What a copy says of its replay. `count` is 1 for the first; `letter` is topic/partition/offset.

    `trace` is the `traceparent` of the span that asked for the replay, empty where there was none.
    """

    count: int
    letter: str
    job: str
    by: str
    trace: str = ""

    @property
    def headers(self) -> Headers:
        trace = ((TRACE, self.trace.encode()),) if self.trace else ()
        return (
            (COUNT, b"%d" % self.count),
            (LETTER, self.letter.encode()),
            (JOB, self.job.encode()),
            (BY, one_line(self.by, MAX_BY - len("...")).encode()),
            *trace,
        )


@dataclass(frozen=True, slots=True)
class Copy:
    """A record of a replay topic, read. `group` and `handler` are exactly as written, or `None`.

    `original` is the record as it was before it failed: its place, its time, and its own headers in their
    order, behind those of ours that a handler may see. Where the copy does not say what it is a copy of,
    it has the copy's own place and time.
    """

    group: str | None
    handler: str | None
    original: Record


def copy_for_handler(original: Record, group: str, handler: str, marks: ReplayMarks) -> OutgoingRecord:
    """What is written to the replay topic of `group`, for its subscription `handler` alone.

    Ours come first: of a record with very many headers only the first are kept when it is read.
    """
    place = f"{original.topic}/{original.partition}/{original.offset}/{original.timestamp_ms}"
    address = ((ORIGINAL, place.encode()), (GROUP, _exactly(group)), (HANDLER, _exactly(handler)))
    theirs = tuple((MOVED.get(name, name), value) for name, value in _without_ours(original.headers))
    return OutgoingRecord(original.key, original.value, address + marks.headers + theirs)


def copy_for_topic(original: Record, marks: ReplayMarks) -> OutgoingRecord:
    """What is written to the original's own topic, for every group that reads it."""
    theirs = tuple(_without_ours(original.headers))
    return OutgoingRecord(original.key, original.value, marks.headers + theirs)


def read_copy(record: Record) -> Copy:
    """Read a record of a replay topic, where anybody may have written anything. Never raises."""
    ours: dict[str, bytes] = {}
    theirs: list[tuple[str, bytes | None]] = []
    for name, value in record.headers:
        if name not in _OF_OURS:
            theirs.append((_MOVED_BACK.get(name, name), value))
        elif value is not None:
            ours[name] = value
    shown = [(name, ours[name]) for name, most in _SHOWN.items() if 0 < len(ours.get(name, b"")) <= most]
    original = record._replace(headers=(*shown, *theirs))
    if (place := _place(ours.get(ORIGINAL, b""))) is not None:
        topic, partition, offset, timestamp_ms = place
        original = original._replace(
            topic=topic, partition=partition, offset=offset, timestamp_ms=timestamp_ms
        )
    return Copy(_text(ours.get(GROUP)), _text(ours.get(HANDLER)), original)


def _without_ours(headers: Headers) -> Iterable[tuple[str, bytes | None]]:
    """A message may bring headers of these names: from an earlier replay, or forged."""
    return ((name, value) for name, value in headers if name not in _TAKEN_OUT)


def _place(value: bytes) -> tuple[str, int, int, int] | None:
    if len(value) > MAX_LETTER + len("/9223372036854775807"):
        return None
    found = _PLACE.fullmatch(value.decode("utf-8", "replace"))
    if found is None or not is_legal(found[1]):
        return None
    partition, offset, timestamp_ms = int(found[2]), int(found[3]), int(found[4])
    if partition > _MOST_PARTITION or max(offset, timestamp_ms) > _MOST_OFFSET:
        return None
    return found[1], partition, offset, timestamp_ms


def _exactly(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(value: bytes | None) -> str | None:
    """As `_exactly` wrote it; what is no UTF-8 equals no name."""
    return None if value is None else value.decode("utf-8", "surrogateescape")
