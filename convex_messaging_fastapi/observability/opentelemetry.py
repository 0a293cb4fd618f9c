"""Spans and metrics of a bus for OpenTelemetry; its API is imported when a bus starts that has this."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Literal, get_args

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.events import Observer
from convex_messaging_fastapi.observability.tracing import is_of_the_api
from convex_messaging_fastapi.observability.watching import Watcher

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from convex_messaging_fastapi.observability.meters import Meters

Parent = Literal["message", "link"]
SpanKind = Literal["send", "process", "poll", "commit"]


class OpenTelemetry(Watcher):
    """Makes spans and metrics of what a bus does. Needs the extra `opentelemetry`, and an SDK that is set up.

        bus = MessageBus(observers=[OpenTelemetry()])

    `tracer_provider` and `meter_provider` are by default the global ones, as they are when the bus starts.
    Where a provider is not of an SDK, its part is left out and costs nothing; the log says so once.
    A `process` span is a child of the span that sent the message, and links to it; with `parent="link"` it
    begins a trace of its own. That of a batch has only links, to its first 128 messages. `spans` are those
    to make. Only `traceparent` and `tracestate` travel with messages, since baggage may hold what was not
    meant for others. With `baggage=True`, which needs both `send` and `process`, what is published takes it
    along, and the handler of a single message has it. Names are those of the semantic conventions 1.45,
    which may change.
    """

    _sets_context = True

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        parent: Parent = "message",
        spans: Collection[SpanKind] = ("send", "process"),
        baggage: bool = False,
    ) -> None:
        if parent not in get_args(Parent):
            raise ConfigurationError(f'parent is "message" or "link", not {parent!r}')
        if isinstance(spans, str) or not set(spans) <= set(get_args(SpanKind)):
            raise ConfigurationError(f"spans are some of {', '.join(get_args(SpanKind))}, not {spans!r}")
        self._tracer_provider, self._meter_provider = tracer_provider, meter_provider
        if baggage and not {"send", "process"} <= set(spans):
            raise ConfigurationError("baggage=True needs spans of both send and process, which carry it")
        self._choices = frozenset(spans), parent == "link", baggage
        self._meters: Meters | None = None
        self._has_told = False

    def _hearing(self, client_id: str) -> Iterable[Observer]:
        try:
            from opentelemetry.metrics import get_meter_provider

            from convex_messaging_fastapi.observability.meters import Meters
            from convex_messaging_fastapi.observability.spans import Choices, spans
        except ImportError as error:
            raise ConfigurationError(
                "OpenTelemetry needs its API: pip install 'convex-messaging-fastapi[opentelemetry]'"
            ) from error
        found = [*spans(self._tracer_provider, Choices(*self._choices), client_id)]
        provider = self._meter_provider or get_meter_provider()
        if not is_of_the_api(provider):
            # An SDK keeps what it was told to observe, so a bus that starts again goes on counting.
            if self._meters is None or self._meters.provider is not provider:
                self._meters = Meters(provider)
            found.append(self._meters)
        if not found and not self._has_told:
            self._has_told = True
            reports.no_opentelemetry()
        return found
