"""Spans and metrics as an SDK of OpenTelemetry gets them: one trace, from the request to the replay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id
from prometheus_client import CollectorRegistry

from convex_messaging_fastapi import (
    Batch,
    ConfigurationError,
    Discard,
    EncodeError,
    MessageBus,
    OpenTelemetry,
    Prometheus,
    Record,
    Reject,
    Retry,
)
from convex_messaging_fastapi.events import AttemptOutcome
from convex_messaging_fastapi.observability import conventions as names
from convex_messaging_fastapi.observability.meters import MAX_COUNTS, Meters
from convex_messaging_fastapi.observability.spans import MAX_FAILED, MAX_LINKS, Choices, spans
from convex_messaging_fastapi.observability.watching import observers_of
from tests.bus.support import Bet, memory_bus
from tests.observability.scraping import scrape_openmetrics

TWICE = Retry(attempts=2, delay_seconds=5, jitter=0)
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


class Traced:
    """An SDK that keeps all spans in memory."""

    def __init__(self, **choices: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**choices)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def spans(self, named: str = "") -> list[ReadableSpan]:
        """Those that have ended, in the order of their beginnings."""
        spans = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [span for span in spans if span.name.startswith(named)]

    def one(self, named: str) -> ReadableSpan:
        (found,) = self.spans(named)
        return found


@pytest.fixture
def traced() -> Traced:
    return Traced()


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def id_of(span: ReadableSpan) -> str:
    return format_span_id(span.context.span_id)


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else format_span_id(span.parent.span_id)


def linked(span: ReadableSpan) -> list[str]:
    return [format_trace_id(link.context.trace_id) for link in span.links]


def bus_of(traced: Traced, **choices: Any) -> MessageBus:
    return memory_bus(observers=[OpenTelemetry(traced.provider, **choices)])


async def test_one_trace_goes_from_the_request_to_the_dead_letter_and_a_replay_links_to_it(
    traced: Traced,
) -> None:
    """Request, publish, handler, its own publish, its handler, a retry, the dead letter; then a replay."""
    bus = bus_of(traced)
    is_mended = False

    @bus.subscriber("order", id="take")
    async def take(order: Bet) -> None:
        await bus.publish("payment", order)

    @bus.subscriber("payment", id="pay", retry=TWICE)
    async def pay(order: Bet) -> None:
        if not is_mended:
            raise ValueError("no such card")

    async with bus.test() as t:
        with traced.tracer.start_as_current_span("POST /orders"):
            await bus.publish("order", Bet(bet_id=1))
        await t.settle()
        (request,) = traced.spans("POST")
        send, take_span, second_send, first, second, letter = traced.spans()[1:]
        assert [(span.name, span.kind, parent_of(span)) for span in traced.spans()[1:]] == [
            ("send convex.order", SpanKind.PRODUCER, id_of(request)),
            ("process convex.order", SpanKind.CONSUMER, id_of(send)),
            ("send convex.payment", SpanKind.PRODUCER, id_of(take_span)),
            ("process convex.payment", SpanKind.CONSUMER, id_of(second_send)),
            ("process convex.payment", SpanKind.CONSUMER, id_of(second_send)),
            ("send convex.dlq", SpanKind.PRODUCER, id_of(second)),
        ]
        assert {span.context.trace_id for span in traced.spans()} == {request.context.trace_id}
        assert [told(span)[names.ATTEMPT] for span in (first, second)] == [1, 2]
        (buried,) = t.records("dlq")
        assert dict(buried.headers)["traceparent"] == (
            f"00-{format_trace_id(request.context.trace_id)}-{id_of(letter)}-01".encode()
        )
        is_mended = True
        with traced.tracer.start_as_current_span("POST /replay"):
            await t.replay()
        await t.settle()
        replay = traced.one("POST /replay")
        again = traced.spans("process convex.payment")[-1]
        assert parent_of(again) == id_of(replay)
        assert again.context.trace_id == replay.context.trace_id
        assert linked(again) == [format_trace_id(request.context.trace_id)]
        assert told(again)[names.REPLAY_COUNT] == 1


async def test_a_replay_that_nobody_traces_begins_a_trace_and_links_to_the_old_one(traced: Traced) -> None:
    bus = bus_of(traced)
    fails = [True]

    @bus.subscriber("bet", retry=Retry(attempts=1))
    async def pay(bet: Bet) -> None:
        if fails:
            raise ValueError(fails.pop())

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1))
        await t.settle()
        await t.replay()
        await t.settle()
    first, again = traced.spans("process")
    assert parent_of(again) is None
    assert linked(again) == [format_trace_id(first.context.trace_id)]


async def test_a_context_that_came_with_a_message_is_replaced_and_never_appended(traced: Traced) -> None:
    """Others read the first of two."""
    bus = bus_of(traced)

    @bus.subscriber("bet")
    async def forward(bet: Bet) -> None:
        await bus.publish("other", bet)

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1), headers={"traceparent": TRACEPARENT, "baggage": "a=1"})
        await t.settle()
        (record,) = t.records("other")
    (carried,) = [value for name, value in record.headers if name == "traceparent"]
    send = traced.one("send convex.other")
    assert carried == f"00-{TRACE_ID}-{id_of(send)}-01".encode()
    assert not [name for name, _ in record.headers if name == "baggage"]


@pytest.mark.parametrize("is_asked_for", [False, True])
async def test_baggage_goes_from_the_request_through_handlers_only_where_that_is_asked_for(
    is_asked_for: bool, traced: Traced
) -> None:
    """Through a handler, its own publish and another handler; never into the headers of a dead letter."""
    bus = bus_of(traced, baggage=is_asked_for)
    seen = list[object]()

    @bus.subscriber("order", id="take")
    async def take(order: Bet) -> None:
        await bus.publish("payment", order)

    @bus.subscriber("payment", id="pay")
    async def pay(order: Bet) -> None:
        seen.append(baggage.get_baggage("tenant"))
        raise Reject("no")

    async with bus.test() as t:
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        await bus.publish("order", Bet(bet_id=1))
        await bus.publish_many("order", [Bet(bet_id=2)])
        context.detach(token)
        await bus.publish("order", Bet(bet_id=3), headers={"baggage": "x" * 10_000})
        await t.settle()
        carried = {
            topic: [dict(record.headers).get("baggage") for record in t.records(topic)]
            for topic in ("order", "payment", "dlq")
        }
    assert seen.count("acme") == carried["order"].count(b"tenant=acme") == (2 if is_asked_for else 0)
    assert seen.count(None) == (1 if is_asked_for else 3)
    assert carried["payment"].count(None) == seen.count(None)
    assert carried["dlq"] == [None] * 3
    assert baggage.get_baggage("tenant") is None


@pytest.mark.parametrize("parent", ["message", "link"])
async def test_a_process_span_is_a_child_of_its_message_or_only_linked_to_it(
    parent: Any, traced: Traced
) -> None:
    bus = bus_of(traced, parent=parent)

    @bus.subscriber("bet")
    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
        await bus.publish("bet", Bet(bet_id=1), headers=headers)
        await t.settle()
    span = traced.one("process")
    assert linked(span) == [TRACE_ID]
    assert span.links[0].context.trace_state.to_header() == "vendor=1"
    assert parent_of(span) == (SPAN_ID if parent == "message" else None)
    assert (format_trace_id(span.context.trace_id) == TRACE_ID) is (parent == "message")


async def test_a_batch_has_links_and_no_parent(traced: Traced) -> None:
    bus = bus_of(traced)

    @bus.subscriber("bet", batch=Batch(max_records=200, max_wait_seconds=1))
    async def pay(bets: list[Bet]) -> None: ...

    async with bus.test() as t:
        await bus.publish_many("bet", [Bet(bet_id=n) for n in range(150)], key="ada")
        await t.settle()
    send, span = traced.one("send"), traced.one("process")
    assert (send.kind, told(send)[names.BATCH_COUNT]) == (SpanKind.CLIENT, 150)
    assert told(span)[names.BATCH_COUNT] == 150
    assert parent_of(span) is None
    assert linked(span) == [format_trace_id(send.context.trace_id)] * MAX_LINKS


NO_TRACES = [
    "",
    "00",
    "garbage",
    f"ff-{TRACE_ID}-{SPAN_ID}-01",
    f"00-{'0' * 32}-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{'0' * 16}-01",
    f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{SPAN_ID}-01ff",
    "x" * 100_000,
]


@pytest.mark.parametrize("value", NO_TRACES, ids=range(len(NO_TRACES)))
async def test_what_is_no_trace_is_taken_for_none(value: str, traced: Traced) -> None:
    bus = bus_of(traced)

    @bus.subscriber("bet")
    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        headers = {"traceparent": value, "tracestate": "\x00=é,,,"}
        await bus.publish("bet", Bet(bet_id=1), headers=headers)
        await t.settle()
    span = traced.one("process")
    assert (parent_of(span), linked(span)) == (None, [])


# What the handler raises, and what its span says of it.
ENDS: list[tuple[BaseException | None, str, StatusCode, str | None]] = [
    (None, "handled", StatusCode.UNSET, None),
    (ValueError("secret"), "failed", StatusCode.ERROR, "ValueError"),
    (Reject("secret"), "rejected", StatusCode.ERROR, "convex_messaging_fastapi.errors.Reject"),
    (Discard("secret"), "discarded", StatusCode.UNSET, None),
]


@pytest.mark.parametrize(("raised", "outcome", "status", "error_type"), ENDS)
async def test_a_process_span_tells_its_message_and_its_end(
    raised: BaseException | None,
    outcome: AttemptOutcome,
    status: StatusCode,
    error_type: str | None,
    traced: Traced,
) -> None:
    bus = memory_bus(observers=[OpenTelemetry(traced.provider)], client_id="shop-1")

    @bus.subscriber("bet", id="pay", retry=Retry(attempts=1))
    async def pay(bet: Bet) -> None:
        if raised is not None:
            raise raised

    async with bus.test() as t:
        receipt = await bus.publish("bet", Bet(bet_id=1), headers={"message-id": "m-1"}, correlation_id="c-1")
        await t.settle()
    span = traced.one("process")
    expected: dict[str, Any] = {
        "messaging.system.name": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "convex.bet",
        "messaging.client.id": "shop-1",
        "messaging.destination.partition.id": str(receipt.partition),
        "messaging.consumer.group.name": "bets",
        "messaging.message.id": "m-1",
        "messaging.message.conversation_id": "c-1",
        "kafka.offset": receipt.offset,
        "convex.messaging.subscription": "pay",
        "convex.messaging.attempt": 1,
        "convex.messaging.outcome": outcome,
    }
    assert told(span) == expected | ({} if error_type is None else {"error.type": error_type})
    assert span.status.status_code is status
    assert "secret" not in span.to_json()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.45.0"


async def test_a_send_span_tells_where_the_message_landed_or_why_not(traced: Traced) -> None:
    bus = memory_bus(observers=[OpenTelemetry(traced.provider)], client_id="shop-1")
    async with bus.test() as t:
        receipt = await bus.publish("bet", Bet(bet_id=1), key="ada", correlation_id="c-1")
        await bus.tombstone("bet", key="ada")
        with pytest.raises(EncodeError):
            await bus.publish("bet", object())
        written = [dict(record.headers) for record in t.records("bet")]
    first, tombstone, failed = traced.spans("send")
    message_id, of_tombstone = [(headers["message-id"] or b"").decode() for headers in written]
    assert told(first) == {
        "messaging.system.name": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "convex.bet",
        "messaging.client.id": "shop-1",
        "messaging.message.id": message_id,
        "messaging.message.conversation_id": "c-1",
        "messaging.destination.partition.id": str(receipt.partition),
        "kafka.offset": receipt.offset,
    }
    assert told(tombstone)["kafka.message.tombstone"] is True
    assert told(tombstone)["messaging.message.id"] == of_tombstone
    assert failed.status.status_code is StatusCode.ERROR
    assert told(failed)["error.type"] == "convex_messaging_fastapi.errors.EncodeError"


async def test_which_spans_are_made_is_chosen(traced: Traced) -> None:
    for kinds, made in [
        (("send",), {"send"}),
        (("process",), {"process"}),
        (("commit",), {"commit"}),
        (("poll",), {"poll"}),
        ((), set[str]()),
    ]:
        traced.exporter.clear()
        bus = bus_of(traced, spans=kinds)

        @bus.subscriber("bet")
        async def pay(bet: Bet) -> None: ...

        async with bus.test() as t:
            await bus.publish("bet", Bet(bet_id=1))
            await t.settle()
            await t.advance(10)
        assert {span.name.partition(" ")[0] for span in traced.spans()} == made


async def test_a_commit_is_a_span_that_ends_when_it_is_told(traced: Traced) -> None:
    bus = bus_of(traced, spans=("commit",))

    @bus.subscriber("bet")
    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1))
        await t.settle()
        await t.advance(10)
    span = traced.spans("commit")[0]
    assert (span.kind, parent_of(span)) == (SpanKind.CLIENT, None)
    assert told(span)["messaging.operation.type"] == "settle"


async def test_what_comes_in_is_a_span_a_topic_and_nothing_is_none(traced: Traced) -> None:
    bus = bus_of(traced, spans=("poll",))

    @bus.subscriber("bet", "refund")
    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        await t.advance(10)
        assert not traced.spans()
        await bus.publish_many("bet", [Bet(bet_id=n) for n in range(5)])
        await bus.publish("refund", Bet(bet_id=1))
        await t.settle()
    counts = dict.fromkeys(("poll convex.bet", "poll convex.refund"), 0)
    for span in traced.spans():
        assert (span.kind, parent_of(span)) == (SpanKind.CLIENT, None)
        assert told(span)["messaging.operation.type"] == "receive"
        assert told(span)["messaging.consumer.group.name"] == "bets"
        counts[span.name] += told(span)["messaging.batch.message_count"]
    assert counts == {"poll convex.bet": 5, "poll convex.refund": 1}


async def test_failed_attempts_are_remembered_in_bounds(traced: Traced) -> None:
    (process, *_) = spans(traced.provider, Choices(("process", "send")), "shop-1")
    for offset in range(MAX_FAILED + 50):
        end = process.handling("bets", "pay", [Record("bet", 0, offset, 0, None, b"")], 1)
        assert end is not None
        end("failed", ValueError("no"))
    assert len(process._failed._contexts) == MAX_FAILED  # type: ignore[attr-defined]


async def test_a_handler_leaves_no_context_behind_and_costs_no_task_a_message(traced: Traced) -> None:
    bus = bus_of(traced)
    runners = set[Any]()

    @bus.subscriber("bet", concurrency=1)
    async def pay(bet: Bet) -> None:
        assert trace.get_current_span().get_span_context().is_valid
        runners.add(asyncio.current_task())

    async with bus.test() as t:
        await bus.publish_many("bet", [Bet(bet_id=n) for n in range(50)])
        assert not trace.get_current_span().get_span_context().is_valid
        await t.settle()
    assert len(runners) == 1


# -- where no SDK is --------------------------------------------------------------------------------


async def test_without_an_sdk_nothing_is_installed_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    observer = OpenTelemetry()
    with caplog.at_level(logging.INFO):
        for told in (observers_of([observer], "shop"), observers_of([observer], "shop")):
            assert [told.attempts_of("bets", "pay"), told.publishing, told.burying] == [None] * 3
    assert [line.message for line in caplog.records if "OpenTelemetry" in line.message] == [
        "no SDK of OpenTelemetry is set up, so the bus makes neither spans nor metrics for it"
    ]


@pytest.mark.parametrize(
    "choices",
    [
        {"parent": "child"},
        {"spans": "send"},
        {"spans": ("send", "x")},
        {"spans": ("send",), "baggage": True},
    ],
)
def test_what_cannot_be_chosen_is_refused(choices: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        OpenTelemetry(**choices)


# -- metrics, and what joins them ---------------------------------------------------------------------


def points(reader: InMemoryMetricReader) -> Iterator[tuple[str, str | None, Any]]:
    """Name, unit and point of everything measured."""
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield metric.name, metric.unit, point


async def test_the_metrics_of_the_conventions_are_measured() -> None:
    reader = InMemoryMetricReader()
    bus = memory_bus(observers=[OpenTelemetry(meter_provider=MeterProvider([reader]))])

    @bus.subscriber("bet", id="pay", retry=TWICE)
    async def pay(bet: Bet) -> None:
        raise ValueError("no")

    async with bus.test() as t:
        await bus.publish_many("bet", [Bet(bet_id=n) for n in range(3)])
        await t.settle()
    found = [
        (name, unit, point.attributes.get("error.type"), getattr(point, "count", None) or point.value)
        for name, unit, point in points(reader)
    ]
    assert sorted(found, key=str) == [
        ("messaging.client.consumed.messages", "{message}", "ValueError", 3),
        ("messaging.client.operation.duration", "s", None, 1),
        ("messaging.client.sent.messages", "{message}", None, 3),
        ("messaging.process.duration", "s", "ValueError", 6),
    ]


async def test_a_bus_that_starts_again_goes_on_counting() -> None:
    reader = InMemoryMetricReader()
    bus = memory_bus(observers=[OpenTelemetry(meter_provider=MeterProvider([reader]))])
    for _ in range(2):
        async with bus.test():
            await bus.publish("bet", Bet(bet_id=1))
    sent = [point.value for name, _, point in points(reader) if name == names.SENT_MESSAGES]
    assert sent == [2]


def test_the_number_of_counts_is_bounded_whatever_is_raised() -> None:
    reader = InMemoryMetricReader()
    meters = Meters(MeterProvider([reader]))
    for number in range(MAX_COUNTS + 500):
        kind = type(f"Error{number}", (Exception,), {})
        meters.publishing("bet", "publish")((), kind())
    counted = [point.value for name, _, point in points(reader) if name == names.SENT_MESSAGES]
    assert len(counted) <= MAX_COUNTS + 1
    assert sum(counted) == MAX_COUNTS + 500


@pytest.mark.parametrize("first", ["Prometheus", "OpenTelemetry"])
async def test_a_log_line_a_dead_letter_a_span_and_a_metric_are_joined_by_one_trace(
    first: str, traced: Traced, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the order of observers, the trace of a metric is that of the attempt."""
    registry = CollectorRegistry()
    both: Sequence[Any] = [Prometheus(registry), OpenTelemetry(traced.provider)]
    bus = memory_bus(observers=both if first == "Prometheus" else both[::-1])

    @bus.subscriber("bet", id="pay", retry=Retry(attempts=1))
    async def pay(bet: Bet) -> None:
        raise ValueError("no")

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1), headers={"message-id": "m-1"})
        await t.settle()
        (letter,) = t.dead_letters()
        (record,) = t.records("dlq")
        samples = scrape_openmetrics(registry)
    span = traced.one("process")
    trace_id = format_trace_id(span.context.trace_id)
    (line,) = [line for line in caplog.records if line.levelno == logging.ERROR]
    assert (line.trace_id, line.message_id) == (trace_id, "m-1")  # type: ignore[attr-defined]
    assert letter.message_id == told(span)["messaging.message.id"] == "m-1"
    assert trace_id.encode() in (dict(record.headers)["traceparent"] or b"")
    (exemplar,) = [each.exemplar for each in samples if each.exemplar and "handler_duration" in each.name]
    assert exemplar.labels == {"trace_id": trace_id}


async def test_a_trace_that_is_not_sampled_is_carried_on_all_the_same() -> None:
    traced = Traced(sampler=ALWAYS_OFF)
    bus = bus_of(traced)

    @bus.subscriber("bet")
    async def forward(bet: Bet) -> None:
        await bus.publish("other", bet)

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1))
        await t.settle()
        ids = {
            (dict(record.headers)["traceparent"] or b"").split(b"-")[1]
            for topic in ("bet", "other")
            for record in t.records(topic)
        }
    assert len(ids) == 1
    assert not traced.spans()
