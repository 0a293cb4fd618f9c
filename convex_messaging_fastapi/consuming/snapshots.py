"""Makes the frozen status of one worker."""

from __future__ import annotations

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.assignment import OwnedPartition
from convex_messaging_fastapi.consuming.buffer_shares import buffered, filled_by, free
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.status import CommitStatus, PartitionStatus, WorkerStatus
from convex_messaging_fastapi.transport.base import contact_status, loss_status


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
    )


def partition_status(owned: OwnedPartition, clock: Clock) -> PartitionStatus:
    ledger = owned.ledger
    since = owned.oldest_since()
    return PartitionStatus(
        topic=owned.topic_partition.topic,
        partition=owned.topic_partition.partition,
        committed=ledger.committed,
        position=ledger.position,
        unfinished=ledger.unfinished,
        oldest_unfinished=ledger.oldest,
        oldest_age_seconds=0.0 if since is None else clock.now() - since,
        held=owned.held,
        passed_over=ledger.passed_over,
        end=owned.end,
    )
