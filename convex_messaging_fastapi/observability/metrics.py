"""Every metric of a bus: its name, its labels and what it means; and its values, of one status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from convex_messaging_fastapi.messages.validation_errors import one_line
from convex_messaging_fastapi.observability.durations import Durations
from convex_messaging_fastapi.status import (
    BusStatus,
    OutboxStatus,
    PartitionStatus,
    SubscriptionStatus,
    WorkerStatus,
)
from convex_messaging_fastapi.verdicts import STATUSES, overall

PREFIX = "convex_messaging_"

MAX_LABEL = 100
"""Characters of a label's value: names come from messages, too."""

HELD = ("dlq_unavailable", "dead_letter_held", "breaker_open", "paused")
"""Why a partition may wait."""

Labels = tuple[str, ...]
Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric; `name` is without the prefix, and without the ending `_total` of counters."""

    name: str
    kind: Kind
    labels: Labels
    help: str


_GROUP = ("group",)
_HANDLER = ("group", "subscription")
_OUTBOX = ("outbox",)
_PARTITION = ("group", "topic", "partition")

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("up", "gauge", ("status",), "1 for the status of the bus now, 0 for every other."),
        Metric("ready", "gauge", (), "1 where readiness would answer 200."),
        Metric("published", "counter", ("topic", "outcome"), "Messages published: written, failed, unknown."),
        Metric("publish_duration_seconds", "histogram", (), "Seconds of a publish, answer included."),
        Metric("producer_pending", "gauge", (), "Messages that wait for the cluster's answer."),
        Metric("attempts", "counter", (*_HANDLER, "outcome"), "Attempts to handle a message or a batch."),
        Metric("handled", "counter", _HANDLER, "Messages handled, those of batches one by one."),
        Metric("handler_duration_seconds", "histogram", _HANDLER, "Seconds of an attempt."),
        Metric("retries", "counter", _HANDLER, "Attempts that failed and are followed by another."),
        Metric("dead_letters", "counter", (*_HANDLER, "error_type"), "Dead letters written."),
        Metric("in_flight", "gauge", _HANDLER, "Attempts under way."),
        Metric("concurrency", "gauge", _HANDLER, "The most attempts at a time."),
        Metric("waiting", "gauge", _HANDLER, "Messages read that wait for their turn."),
        Metric("backing_off", "gauge", _HANDLER, "Messages that wait for their next attempt."),
        Metric("paused", "gauge", _HANDLER, "1 while an operator has paused it."),
        Metric("lag", "gauge", _PARTITION, "Offsets from what is committed to the end of the log."),
        Metric("unfinished", "gauge", _PARTITION, "Messages that are not finished, read or not."),
        Metric("time_lag_seconds", "gauge", ("group", "topic"), "Age of the oldest record not committed."),
        Metric("oldest_unfinished_seconds", "gauge", _GROUP, "Age of the oldest one read."),
        Metric("held_partitions", "gauge", ("group", "reason"), "Partitions that wait, and why."),
        Metric("buffered_bytes", "gauge", _GROUP, "Bytes of messages that are read and not finished."),
        Metric("rebalances", "counter", _GROUP, "Assignments of partitions, the first included."),
        Metric("records_lost", "counter", _GROUP, "Offsets that the log no longer had."),
        Metric("replayed", "counter", _GROUP, "Copies of failed messages handed to handlers again."),
        Metric("outbox_pending", "gauge", _OUTBOX, "Messages to be published, counted up to 10,001."),
        Metric("outbox_oldest_seconds", "gauge", _OUTBOX, "Age of the oldest message to be published."),
        Metric("outbox_parked", "gauge", _OUTBOX, "Messages that cannot be published as they are."),
        Metric(
            "outbox_held_topics", "gauge", _OUTBOX, "Topics whose messages wait in lanes of this process."
        ),
        Metric("outbox_lanes", "gauge", _OUTBOX, "Lanes, of 64, that this process publishes from."),
        Metric("outbox_published", "counter", _OUTBOX, "Messages published from it by this process."),
        Metric("outbox_repeats_possible", "counter", _OUTBOX, "Of these, the ones that may be repeated."),
        Metric("engine_rebuilds", "counter", ("part",), "Clients of the cluster that were made anew."),
        Metric("dead_letters_open", "gauge", _GROUP, "Open dead letters, where this process counts them."),
        Metric(
            "dead_letter_oldest_expires_timestamp_seconds",
            "gauge",
            _GROUP,
            "When the oldest open dead letter may be removed, in seconds since 1970.",
        ),
    )
}


class Samples:
    """The values of one scrape. What two buses tell of the same is one value."""

    def __init__(self) -> None:
        self.values: dict[str, dict[Labels, float]] = {name: {} for name in METRICS}
        self.durations: dict[str, dict[Labels, Durations]] = {name: {} for name in METRICS}

    def add(self, name: str, labels: Labels, value: float) -> None:
        found = self.values[name]
        found[labels] = found.get(labels, 0.0) + value

    def time(self, name: str, labels: Labels, durations: Durations) -> None:
        found = self.durations[name]
        found[labels] = found.get(labels, Durations()).with_those_of(durations)

    def most(self, name: str, labels: Labels, value: float) -> None:
        found = self.values[name]
        found[labels] = max(found.get(labels, value), value)

    def least(self, name: str, labels: Labels, value: float) -> None:
        found = self.values[name]
        found[labels] = min(found.get(labels, value), value)


def label(text: str) -> str:
    """A value that every format can carry: of one line, not too long, without halves of characters."""
    return one_line(text, MAX_LABEL).encode("utf-8", "backslashreplace").decode()


def add_status(samples: Samples, status: BusStatus) -> None:
    """What a status tells."""
    verdict = overall(status)
    for word in STATUSES:
        samples.add("up", (word,), float(word == verdict.status))
    samples.least("ready", (), float(verdict.ok))
    if (producer := status.producer) is not None:
        samples.add("producer_pending", (), producer.pending)
        samples.add("engine_rebuilds", ("producer",), producer.contact.rebuilds)
    for worker in status.workers:
        _add_worker(samples, worker)
    for outbox in status.outboxes:
        _add_outbox(samples, outbox)


def _add_outbox(samples: Samples, status: OutboxStatus) -> None:
    name = (label(status.name),)
    # Every process sees the same table.
    samples.most("outbox_pending", name, status.pending or 0)
    samples.most("outbox_oldest_seconds", name, status.oldest_seconds or 0.0)
    samples.most("outbox_parked", name, status.parked or 0)
    samples.add("outbox_held_topics", name, len(status.held))
    samples.add("outbox_lanes", name, status.lanes)
    samples.add("outbox_published", name, status.published)
    samples.add("outbox_repeats_possible", name, status.repeats_possible)


def _add_worker(samples: Samples, worker: WorkerStatus) -> None:
    group = label(worker.group)
    samples.add("engine_rebuilds", ("consumer",), worker.contact.rebuilds)
    samples.add("rebalances", (group,), worker.revision)
    samples.add("records_lost", (group,), worker.records_lost)
    samples.add("replayed", (group,), worker.replayed)
    samples.add("buffered_bytes", (group,), worker.buffered_bytes)
    oldest = max((each.oldest_age_seconds for each in worker.partitions), default=0.0)
    samples.most("oldest_unfinished_seconds", (group,), oldest)
    for reason in HELD:
        held = sum(each.held == reason for each in worker.partitions)
        samples.add("held_partitions", (group, reason), held)
    for subscription in worker.subscriptions:
        _add_subscription(samples, group, subscription)
    for partition in worker.partitions:
        _add_partition(samples, group, partition)


def _add_subscription(samples: Samples, group: str, status: SubscriptionStatus) -> None:
    labels = group, label(status.id)
    samples.add("handled", labels, status.handled)
    samples.add("in_flight", labels, status.running)
    samples.add("concurrency", labels, status.concurrency)
    samples.add("waiting", labels, status.waiting)
    samples.add("backing_off", labels, status.backing_off)
    samples.add("paused", labels, float(status.paused is not None))


def _add_partition(samples: Samples, group: str, status: PartitionStatus) -> None:
    """Nothing of this is known before the cluster was asked where its logs end."""
    topic = label(status.topic)
    place = group, topic, str(status.partition)
    if status.lag is not None:
        samples.add("lag", place, status.lag)
    if status.backlog is not None:
        samples.add("unfinished", place, status.backlog)
    if status.time_lag_seconds is not None:
        samples.most("time_lag_seconds", (group, topic), status.time_lag_seconds)
