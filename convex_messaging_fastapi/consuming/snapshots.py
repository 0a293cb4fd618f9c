"""Makes the frozen status of one worker."""

from __future__ import annotations

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.assignment import OwnedPartition
from convex_messaging_fastapi.consuming.buffer_shares import buffered, filled_by, free
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.status import CommitStatus, PartitionStatus, WorkerStatus
from convex_messaging_fastapi.transport.base import contact_status, loss_status

SEEN_SECONDS = 10.0
"""For how long the end of a log is believed that somebody asked for: whoever watches asks more often."""


def worker_status(worker: Worker, clock: Clock) -> WorkerStatus:
    records, size = buffered(worker.partitions)
    contact, now = worker.transport.contact(), clock.now()
    gone = worker.current.revoked_seconds
    filling = filled_by(worker.partitions, worker.limits)
    return WorkerStatus(
        group=worker.group,
        topics=worker.topics,
        alive=worker.alive,
        rebalancing=gone is not None,
        contact=contact_status(contact, now),
        partitions=tuple(partition_status(owned, clock) for owned in worker.partitions),
        subscriptions=tuple(subscription.status() for subscription in worker.subscriptions),
        buffered_records=records,
        buffered_bytes=size,
        revision=worker.current.revision,
        rebalancing_seconds=gone or 0.0,
        losses=tuple(loss_status(loss, now) for loss in contact.losses),
        records_lost=contact.lost,
        commits_failing=tuple(
            CommitStatus(*where, now - failing.since, failing.times, failing.reason)
            for where, failing in worker.failing_commits.items()
        ),
        is_full=records > 0 and free(worker.partitions, worker.limits).is_full,
        full_by=None if filling is None else filling.topic_partition,
        unhandled=worker.routes.unhandled.count,
        replayed=worker.replays.handed_out,
    )


def partition_status(owned: OwnedPartition, clock: Clock) -> PartitionStatus:
    ledger = owned.ledger
    since, now = owned.oldest_since(), clock.now()
    seen = owned.seen if owned.seen is not None and now - owned.seen.at <= SEEN_SECONDS else None
    end = None if seen is None else max(seen.end, ledger.position)
    return PartitionStatus(
        topic=owned.topic_partition.topic,
        partition=owned.topic_partition.partition,
        committed=ledger.committed,
        position=ledger.position,
        unfinished=ledger.unfinished,
        oldest_unfinished=ledger.oldest,
        oldest_age_seconds=0.0 if since is None else now - since,
        held=owned.held,
        passed_over=ledger.passed_over,
        end=owned.end,
        lag=None if end is None else end - ledger.committed,
        backlog=None if end is None else end - ledger.position + ledger.unfinished,
        time_lag_seconds=None if seen is None else seen.time_lag_seconds,
    )
