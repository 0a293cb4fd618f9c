"""The spans of publishing, handling, burying and committing, and how a trace goes on from one to the next."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from opentelemetry import context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
    TraceState,
)

from convex_messaging_fastapi.events import (
    AttemptEnded,
    AttemptOutcome,
    Committed,
    Observer,
    Polled,
    PublishEnded,
    PublishVerb,
)
from convex_messaging_fastapi.failures import Failure, type_name
from convex_messaging_fastapi.messages.copies import COUNT, TRACE
from convex_messaging_fastapi.messages.headers import CORRELATION_ID, MESSAGE_ID
from convex_messaging_fastapi.messages.validation_errors import short
from convex_messaging_fastapi.observability import conventions as names
from convex_messaging_fastapi.observability.tracing import (
    BAGGAGE,
    FORWARDS_BAGGAGE,
    TRACEPARENT,
    is_of_the_api,
)
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Headers, Record

MAX_LINKS = 128

MAX_FAILED = 1000
"""How many failed attempts are remembered until their dead letters are written."""

_NO_PARENT = Context()
_FAILED: Collection[AttemptOutcome] = ("failed", "timed_out", "rejected")
_KNOWN = frozenset({MESSAGE_ID, CORRELATION_ID, "traceparent", "tracestate", BAGGAGE, COUNT, TRACE})
_BAGGAGE = W3CBaggagePropagator()
_MAX_BAGGAGE = 8192  # bytes, of which others take no more either: what is longer would be logged by them

Known = Mapping[str, bytes]
Attempted = tuple[str, str | None, str, int, int]
"""A message, and the handler that failed on it."""


class Choices(NamedTuple):
    """Which spans are made, and how."""

    kinds: Collection[str]
    is_linked: bool = False
    """Whether a process span begins a trace of its own."""
    has_baggage: bool = False
    """Whether baggage travels with messages."""


def spans(provider: TracerProvider | None, choices: Choices, client_id: str) -> Iterator[Observer]:
    """Observers that make these spans; none where no SDK would keep them."""
    provider = provider or trace.get_tracer_provider()
    if is_of_the_api(provider):
        return
    tracer = provider.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)
    failed = _Failed()
    if names.PROCESS in choices.kinds:
        yield _ProcessSpans(tracer, failed, choices, client_id)
    if names.SEND in choices.kinds:
        yield _SendSpans(tracer, failed, choices, client_id)
    if names.COMMIT in choices.kinds:
        yield _CommitSpans(tracer, client_id)
    if names.POLL in choices.kinds:
        yield _PollSpans(tracer, client_id)


class _Failed:
    """The contexts of attempts that failed: a dead letter is written after the span has ended."""

    def __init__(self) -> None:
        self._contexts: OrderedDict[Attempted, SpanContext] = OrderedDict()

    def note(self, attempted: Attempted, span: Span) -> None:
        self._contexts[attempted] = span.get_span_context()
        if len(self._contexts) > MAX_FAILED:
            self._contexts.popitem(last=False)

    def of(self, attempted: Attempted) -> SpanContext | None:
        return self._contexts.get(attempted)

    def forget(self, attempted: Attempted) -> None:
        self._contexts.pop(attempted, None)


class _ProcessSpans(Observer):
    """A span for each attempt, current in the handler's context."""

    def __init__(self, tracer: Tracer, failed: _Failed, choices: Choices, client_id: str) -> None:
        self._tracer, self._failed, self._choices, self._client_id = tracer, failed, choices, client_id

    def handling(self, group: str, handler: str, records: Sequence[Record], attempt: int) -> AttemptEnded:
        record, known = records[0], _known(records[0].headers)
        is_batch = len(records) > 1
        origin = _Origin(None, [*_links(records)]) if is_batch else self._origin_of(known)
        span = self._tracer.start_span(
            f"{names.PROCESS} {record.topic}",
            _NO_PARENT if origin.parent is None else _within(origin.parent),
            SpanKind.CONSUMER,
            {**_of_handler(record.topic, group, handler, self._client_id), names.ATTEMPT: attempt},
            origin.links,
        )
        if span.is_recording():
            span.set_attributes({names.BATCH_COUNT: len(records)} if is_batch else _of_record(record, known))
        around = _baggage_of(known) if self._choices.has_baggage and not is_batch else None
        token = context.attach(trace.set_span_in_context(span, around))

        def ended(outcome: AttemptOutcome, error: BaseException | None) -> None:
            context.detach(token)
            span.set_attribute(names.OUTCOME, outcome)
            if outcome in _FAILED:
                _fail(span, error)
                for each in records:
                    self._failed.note((group, handler, *each.topic_partition, each.offset), span)
            elif attempt > 1:
                for each in records:
                    self._failed.forget((group, handler, *each.topic_partition, each.offset))
            span.end()

        return ended

    def _origin_of(self, known: Known) -> _Origin:
        """A copy goes on with the trace of its replay, and links to the old one."""
        sender = _sender(known)
        links = [] if sender is None else [Link(sender)]
        if COUNT in known:
            return _Origin(_context_of(known.get(TRACE)), links)
        return _Origin(None if self._choices.is_linked else sender, links)


class _SendSpans(Observer):
    """A span for each publish and each dead letter; the context of the span travels with the messages."""

    def __init__(self, tracer: Tracer, failed: _Failed, choices: Choices, client_id: str) -> None:
        self._tracer, self._failed, self._client_id = tracer, failed, client_id
        self._has_baggage = choices.has_baggage

    def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded:
        kind = SpanKind.CLIENT if verb == "publish_many" else SpanKind.PRODUCER
        span = self._begun(topic, kind, None)
        if verb == "tombstone":
            span.set_attribute(names.TOMBSTONE, True)
        around = context.set_value(FORWARDS_BAGGAGE, True) if self._has_baggage else None
        return self._current_until_the_end(span, around, is_batch=verb == "publish_many")

    def sending(self, headers: Headers) -> None:
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attributes(_of_ids(_known(headers)))

    def burying(self, topic: str, record: Record, failure: Failure) -> PublishEnded:
        attempted = (failure.group, failure.handler, *record.topic_partition, record.offset)
        parent = self._failed.of(attempted) or _sender(_known(record.headers))
        span = self._begun(topic, SpanKind.PRODUCER, _NO_PARENT if parent is None else _within(parent))
        end = self._current_until_the_end(span, None, is_batch=False)

        def ended(receipts: Sequence[Receipt], error: BaseException | None) -> None:
            end(receipts, error)
            if error is None:
                self._failed.forget(attempted)

        return ended

    def _begun(self, topic: str, kind: SpanKind, parent: Context | None) -> Span:
        about = _of_operation(names.SEND, topic, self._client_id)
        return self._tracer.start_span(f"{names.SEND} {topic}", parent, kind, about)

    def _current_until_the_end(self, span: Span, around: Context | None, *, is_batch: bool) -> PublishEnded:
        token = context.attach(trace.set_span_in_context(span, around))

        def ended(receipts: Sequence[Receipt], error: BaseException | None) -> None:
            context.detach(token)
            if error is not None:
                _fail(span, error)
            elif is_batch:
                span.set_attribute(names.BATCH_COUNT, len(receipts))
            elif receipts:
                span.set_attribute(names.PARTITION, str(receipts[0].partition))
                span.set_attribute(names.OFFSET, receipts[0].offset)
            span.end()

        return ended


class _CommitSpans(Observer):
    """A span for each commit, made once it has ended."""

    def __init__(self, tracer: Tracer, client_id: str) -> None:
        self._tracer, self._client_id = tracer, client_id

    def committed(self, event: Committed) -> None:
        about = {
            names.SYSTEM: names.KAFKA,
            names.OPERATION_NAME: names.COMMIT,
            names.OPERATION_TYPE: names.SETTLE,
            names.GROUP: event.group,
            names.CLIENT_ID: self._client_id,
        }
        _record_ended(self._tracer, names.COMMIT, about, event.seconds, is_failed=bool(event.not_stored))


class _PollSpans(Observer):
    """A span for each topic that messages came in from, made once they are there."""

    def __init__(self, tracer: Tracer, client_id: str) -> None:
        self._tracer, self._client_id = tracer, client_id

    def polled(self, event: Polled) -> None:
        counts = Counter[str]()
        for where, count in event.counts.items():
            counts[where.topic] += count
        for topic, count in counts.items():
            about: dict[str, str | int] = {
                **_of_operation(names.POLL, topic, self._client_id),
                names.OPERATION_TYPE: names.RECEIVE,
                names.GROUP: event.group,
                names.BATCH_COUNT: count,
            }
            _record_ended(self._tracer, f"{names.POLL} {topic}", about, event.seconds)


def _record_ended(
    tracer: Tracer, name: str, about: Mapping[str, str | int], seconds: float, *, is_failed: bool = False
) -> None:
    """Make a span of what ends now, the first of a trace of its own."""
    ended = time.time_ns()
    began = ended - int(seconds * 1e9)
    span = tracer.start_span(name, _NO_PARENT, SpanKind.CLIENT, about, start_time=began)
    if is_failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(ended)


class _Origin(NamedTuple):
    """Where a trace goes on from."""

    parent: SpanContext | None
    links: Sequence[Link]


@lru_cache(maxsize=1024)
def _of_handler(topic: str, group: str, handler: str, client_id: str) -> Mapping[str, str]:
    """The same for each of its messages."""
    about = _of_operation(names.PROCESS, topic, client_id)
    return {**about, names.GROUP: group, names.SUBSCRIPTION: handler}


def _of_operation(name: str, topic: str, client_id: str) -> Mapping[str, str]:
    return {
        names.SYSTEM: names.KAFKA,
        names.OPERATION_NAME: name,
        names.OPERATION_TYPE: name,
        names.DESTINATION: topic,
        names.CLIENT_ID: client_id,
    }


def _of_record(record: Record, known: Known) -> Mapping[str, str | int]:
    about: dict[str, str | int] = {
        names.PARTITION: str(record.partition),
        names.OFFSET: record.offset,
        **_of_ids(known),
    }
    if record.value is None:
        about[names.TOMBSTONE] = True
    if (count := known.get(COUNT, b"")).isdigit():
        about[names.REPLAY_COUNT] = int(count[:9])
    return about


def _of_ids(known: Known) -> Mapping[str, str]:
    told = {
        names.MESSAGE_ID: short(known.get(MESSAGE_ID)),
        names.CONVERSATION_ID: short(known.get(CORRELATION_ID)),
    }
    return {name: value for name, value in told.items() if value is not None}


def _known(headers: Headers) -> Known:
    """The last value of each header that matters here, in one pass."""
    return {name: value for name, value in headers if name in _KNOWN and value is not None}


def _baggage_of(known: Known) -> Context | None:
    """The context of a handler, with what came with its message."""
    told = known.get(BAGGAGE, b"")
    if not told or len(told) > _MAX_BAGGAGE:
        return None
    return _BAGGAGE.extract({BAGGAGE: told.decode("utf-8", "replace")})


def _sender(known: Known) -> SpanContext | None:
    return _context_of(known.get("traceparent"), known.get("tracestate"))


def _context_of(traceparent: bytes | None, tracestate: bytes | None = None) -> SpanContext | None:
    """What W3C headers say; `None` for what is no trace."""
    found = None if traceparent is None else TRACEPARENT.match(traceparent)
    if found is None:
        return None
    state = None if tracestate is None else TraceState.from_header([tracestate.decode("ascii", "replace")])
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    told = SpanContext(
        trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & 1), trace_state=state
    )
    return told if told.is_valid else None


def _links(records: Sequence[Record]) -> Iterator[Link]:
    for record in records[:MAX_LINKS]:
        if (sender := _sender(_known(record.headers))) is not None:
            yield Link(sender)


def _within(parent: SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), _NO_PARENT)


def _fail(span: Span, error: BaseException | None) -> None:
    """Without the exception's text, which may hold what was in a message."""
    span.set_status(Status(StatusCode.ERROR))
    if error is not None:
        span.set_attribute(names.ERROR_TYPE, type_name(error))
