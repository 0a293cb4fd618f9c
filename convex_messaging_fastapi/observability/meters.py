"""The metrics of the conventions, measured by an SDK of OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from opentelemetry.metrics import MeterProvider, get_meter_provider

from convex_messaging_fastapi.errors import PublishManyError
from convex_messaging_fastapi.events import AttemptEnded, AttemptOutcome, Observer, PublishEnded, PublishVerb
from convex_messaging_fastapi.failures import type_name
from convex_messaging_fastapi.measuring import BOUNDARIES
from convex_messaging_fastapi.observability import conventions as names
from convex_messaging_fastapi.observability.tracing import is_of_the_api
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Record


def meters(provider: MeterProvider | None) -> Iterator[Observer]:
    """An observer that measures; none where no SDK would hear of it."""
    provider = provider or get_meter_provider()
    if not is_of_the_api(provider):
        yield _Meters(provider)


class _Meters(Observer):
    """Needs only what is known at both ends, so that its attributes are few, and the same again and again."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(names.SCOPE, schema_url=names.SCHEMA_URL)
        bounds = list(BOUNDARIES)
        self._operation = meter.create_histogram(
            names.OPERATION_DURATION, names.SECONDS, explicit_bucket_boundaries_advisory=bounds
        )
        self._process = meter.create_histogram(
            names.PROCESS_DURATION, names.SECONDS, explicit_bucket_boundaries_advisory=bounds
        )
        self._sent = meter.create_counter(names.SENT_MESSAGES, names.MESSAGES)
        self._consumed = meter.create_counter(names.CONSUMED_MESSAGES, names.MESSAGES)

    def handling(self, group: str, handler: str, records: Sequence[Record], attempt: int) -> AttemptEnded:
        began = time.perf_counter()

        def ended(outcome: AttemptOutcome, error: BaseException | None) -> None:
            about = _about(names.PROCESS, records[0].topic) | {
                names.GROUP: group,
                names.SUBSCRIPTION: handler,
                names.OUTCOME: outcome,
            }
            if error is not None:
                about[names.ERROR_TYPE] = type_name(error)
            self._process.record(time.perf_counter() - began, about)
            if attempt == 1:
                self._consumed.add(len(records), about)

        return ended

    def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded:
        began = time.perf_counter()

        def ended(receipts: Sequence[Receipt], error: BaseException | None) -> None:
            about = _about(names.SEND, topic)
            if error is not None:
                about[names.ERROR_TYPE] = type_name(error)
            self._operation.record(time.perf_counter() - began, about)
            count = len(error.receipts) if isinstance(error, PublishManyError) else max(1, len(receipts))
            self._sent.add(count, about)

        return ended


def _about(operation: str, topic: str) -> dict[str, str]:
    return {
        names.SYSTEM: names.KAFKA,
        names.OPERATION_NAME: operation,
        names.OPERATION_TYPE: operation,
        names.DESTINATION: topic,
    }
