"""The metrics of a bus for Prometheus: counts what it is told, and looks at the bus when it is scraped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import ConfigurationError, PublishManyError, PublishUnknown
from convex_messaging_fastapi.events import (
    AttemptEnded,
    AttemptOutcome,
    Buried,
    PublishEnded,
    PublishVerb,
    Retried,
)
from convex_messaging_fastapi.observability.counts import OTHER, HandlerCounts, Topics
from convex_messaging_fastapi.observability.durations import Durations, Exemplar
from convex_messaging_fastapi.observability.looking import Looks
from convex_messaging_fastapi.observability.metrics import Samples, add_status, label
from convex_messaging_fastapi.observability.tracing import sampled_trace_id
from convex_messaging_fastapi.observability.watching import Watched, Watcher
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Record
from convex_messaging_fastapi.status import BusStatus, Phase

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from convex_messaging_fastapi.observability.exposition import Exposition

MAX_HANDLERS = 1000


class Prometheus(Watcher):
    """Shows the metrics of a bus to Prometheus, while it runs. Needs the extra `prometheus`.

        bus = MessageBus(observers=[Prometheus()])

    They are in `registry`, by default the one that `prometheus_client` and what is built on it show at
    `/metrics`. All names begin with `convex_messaging_`. A scrape asks no broker: it has a task ask for the
    ends of logs every five seconds, until a minute after the last scrape, so the first one has no lag.
    `scan_dead_letters_seconds` has open dead letters counted every so many seconds, which reads their topic:
    let one process of a fleet do so. Several buses may share one of these. Raises `ConfigurationError`
    where `prometheus_client` is missing, and fails the start where the registry shows another bus already.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, scan_dead_letters_seconds: float | None = None
    ) -> None:
        try:
            from convex_messaging_fastapi.observability.exposition import Exposition
        except ImportError as error:
            raise ConfigurationError(
                "Prometheus needs prometheus-client: pip install 'convex-messaging-fastapi[prometheus]'"
            ) from error
        if scan_dead_letters_seconds is not None and not scan_dead_letters_seconds >= 1:
            raise ConfigurationError(
                f"scan_dead_letters_seconds is 1 or more, not {scan_dead_letters_seconds!r}"
            )
        self._exposition: Exposition = Exposition(registry, self._samples)
        self._scan_seconds = scan_dead_letters_seconds
        self._now: Callable[[], float] = time.monotonic
        self._handlers: dict[tuple[str, str], HandlerCounts] = {}
        self._publishes = Durations()
        self._topics = Topics()
        self._buses: dict[int, tuple[Watched, Looks]] = {}

    # -- told with every message ---------------------------------------------------------------

    def handling(self, group: str, handler: str, records: Sequence[Record], attempt: int) -> AttemptEnded:
        now = self._now
        counts = self._handlers.get((group, handler)) or self._begin(group, handler)
        began = now()

        def ended(outcome: AttemptOutcome, error: BaseException | None) -> None:
            at = now()
            counts.outcomes[outcome] += 1
            if counts.durations.note(at - began, at):
                _remember(counts.durations, at - began, records[0])

        return ended

    def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded:
        now, publishes, topics = self._now, self._publishes, self._topics
        began = now()

        def ended(receipts: Sequence[Receipt], error: BaseException | None) -> None:
            at = now()
            if publishes.note(at - began, at):
                _remember(publishes, at - began, None)
            if error is None:
                topics.note(topic, "written", len(receipts))
            elif isinstance(error, PublishManyError):
                written = len(error.receipts) - len(error.failed) - len(error.unknown)
                topics.note(topic, "written", written)
                topics.note(topic, "failed", len(error.failed))
                topics.note(topic, "unknown", len(error.unknown))
            else:
                is_failed = isinstance(error, Exception) and not isinstance(error, PublishUnknown)
                topics.note(topic, "failed" if is_failed else "unknown", 1)

        return ended

    # -- told seldom ---------------------------------------------------------------------------

    def retried(self, event: Retried) -> None:
        self._counts_of(event.failure.group, event.failure.handler).retries += 1

    def buried(self, event: Buried) -> None:
        counts = self._counts_of(event.failure.group, event.failure.handler)
        counts.note_letter(label(event.failure.exception_type))

    # -- the bus -------------------------------------------------------------------------------

    def _watch(self, bus: Watched, clock: Clock) -> None:
        if not self._buses:
            self._exposition.show()
        looks = Looks(bus, clock)
        self._buses[id(bus)] = bus, looks
        if self._scan_seconds is not None:
            looks.count_letters(self._scan_seconds)

    async def _leave(self, bus: Watched) -> None:
        if (found := self._buses.pop(id(bus), None)) is None:
            return
        if not self._buses:
            self._exposition.hide()
        await found[1].stop()

    def _samples(self, samples: Samples) -> None:
        """What one scrape shows, but for histograms; any thread may ask."""
        statuses = list[BusStatus]()
        for bus, looks in list(self._buses.values()):
            statuses.append(bus.status())
            add_status(samples, statuses[-1])
            looks.wanted()
            looks.add_letters(samples)
        self._forget_those_that_left(statuses)
        for (group, handler), counts in list(self._handlers.items()):
            counts.add_to(samples, label(group), label(handler))
        self._topics.add_to(samples)
        samples.time("publish_duration_seconds", (), self._publishes)

    # -- inside --------------------------------------------------------------------------------

    def _begin(self, group: str, handler: str) -> HandlerCounts:
        """Handlers come and go while a bus runs, and need not be scraped meanwhile."""
        if len(self._handlers) >= MAX_HANDLERS:
            group, handler = OTHER, OTHER
        return self._handlers.setdefault((group, handler), HandlerCounts())

    def _forget_those_that_left(self, statuses: Sequence[BusStatus]) -> None:
        if all(status.phase is Phase.RUNNING for status in statuses):
            workers = [worker for status in statuses for worker in status.workers]
            here = {(worker.group, each.id) for worker in workers for each in worker.subscriptions}
            for group, handler in [key for key in list(self._handlers) if key not in here]:
                if handler != OTHER:
                    self._handlers.pop((group, handler), None)

    def _counts_of(self, group: str, handler: str | None) -> HandlerCounts:
        """A dead letter may name any handler: one that no message was given to is not believed."""
        return self._handlers.get((group, handler or "")) or self._begin(group, OTHER)


def _remember(durations: Durations, took: float, record: Record | None) -> None:
    if (trace_id := sampled_trace_id(record)) is not None:
        durations.remember(Exemplar(trace_id, took, time.time()))
