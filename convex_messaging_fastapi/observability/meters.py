"""The metrics of the conventions, measured by an SDK of OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from convex_messaging_fastapi.errors import PublishManyError
from convex_messaging_fastapi.events import AttemptEnded, AttemptOutcome, Observer, PublishEnded, PublishVerb
from convex_messaging_fastapi.failures import type_name
from convex_messaging_fastapi.measuring import BOUNDARIES
from convex_messaging_fastapi.observability import conventions as names
from convex_messaging_fastapi.observability.counts import OTHER
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Record

MAX_COUNTS = 2000
"""How many sets of attributes are told apart: types of errors are named by whoever raises them."""

Attributes = Mapping[str, str]


class Meters(Observer):
    """Measures durations, and counts messages. Its attributes are few, and the same again and again.

    An SDK reads the counts when it exports them, which costs less than to tell it each.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self.provider: MeterProvider = provider
        meter = provider.get_meter(names.SCOPE, schema_url=names.SCHEMA_URL)
        bounds = list(BOUNDARIES)
        self._operation = meter.create_histogram(
            names.OPERATION_DURATION, names.SECONDS, explicit_bucket_boundaries_advisory=bounds
        )
        self._process = meter.create_histogram(
            names.PROCESS_DURATION, names.SECONDS, explicit_bucket_boundaries_advisory=bounds
        )
        self._sent, self._consumed = _Counts(), _Counts()
        meter.create_observable_counter(names.SENT_MESSAGES, [self._sent.observed], names.MESSAGES)
        meter.create_observable_counter(names.CONSUMED_MESSAGES, [self._consumed.observed], names.MESSAGES)

    def handling(self, group: str, handler: str, records: Sequence[Record], attempt: int) -> AttemptEnded:
        began = time.perf_counter()

        def ended(outcome: AttemptOutcome, error: BaseException | None) -> None:
            kind = None if error is None else type_name(error)
            about = _of_attempt(records[0].topic, group, handler, outcome, kind)
            self._process.record(time.perf_counter() - began, about)
            if attempt == 1:
                self._consumed.add((records[0].topic, group, handler, outcome, kind), about, len(records))

        return ended

    def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded:
        began = time.perf_counter()

        def ended(receipts: Sequence[Receipt], error: BaseException | None) -> None:
            kind = None if error is None else type_name(error)
            about = _of_publish(topic, kind)
            self._operation.record(time.perf_counter() - began, about)
            count = len(error.receipts) if isinstance(error, PublishManyError) else max(1, len(receipts))
            self._sent.add((topic, kind), about, count)

        return ended


class _Counts:
    """How many messages there were of each set of attributes."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str | None, ...], int] = {}
        self._attributes: dict[tuple[str | None, ...], Attributes] = {}

    def add(self, key: tuple[str | None, ...], attributes: Attributes, count: int) -> None:
        if key not in self._counts:
            if len(self._counts) >= MAX_COUNTS:
                key, attributes = (OTHER,), {**_of_operation(OTHER, OTHER)}
            self._attributes[key] = attributes
        self._counts[key] = self._counts.get(key, 0) + count

    def observed(self, options: CallbackOptions) -> Iterator[Observation]:
        """Any thread may ask."""
        for key, count in list(self._counts.items()):
            yield Observation(count, self._attributes[key])


@lru_cache(maxsize=MAX_COUNTS)
def _of_attempt(
    topic: str, group: str, handler: str, outcome: AttemptOutcome, error_type: str | None
) -> Attributes:
    about = {names.GROUP: group, names.SUBSCRIPTION: handler, names.OUTCOME: outcome}
    return {**_of_operation(names.PROCESS, topic), **about, **_of_error(error_type)}


@lru_cache(maxsize=MAX_COUNTS)
def _of_publish(topic: str, error_type: str | None) -> Attributes:
    return {**_of_operation(names.SEND, topic), **_of_error(error_type)}


def _of_operation(operation: str, topic: str) -> Attributes:
    return {
        names.SYSTEM: names.KAFKA,
        names.OPERATION_NAME: operation,
        names.OPERATION_TYPE: operation,
        names.DESTINATION: topic,
    }


def _of_error(error_type: str | None) -> Attributes:
    return {} if error_type is None else {names.ERROR_TYPE: error_type}
