"""Enters fetched records in the ledger, and hands those that are not finished to the subscriptions."""

from __future__ import annotations

from collections.abc import Sequence

from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.subscription import Subscription
from convex_messaging_fastapi.records import Record, sizes_of


def hand_out(
    records: Sequence[Record], owned: OwnedPartition, subscriptions: Sequence[Subscription]
) -> Sequence[Record]:
    """Enter records in the ledger, then queue them: in this order, or a commit could pass them.

    Returns those that every subscription has filtered out.
    """
    jobs = jobs_for(records, owned, len(subscriptions))
    filtered_out = [
        subscription.offer(owned, [Job(job.record, owned, job.size) for job in jobs])
        for subscription in subscriptions[1:]
    ]
    filtered_out.append(subscriptions[0].offer(owned, jobs))
    return _in_all(filtered_out)


def _in_all(filtered_out: Sequence[Sequence[Job]]) -> Sequence[Record]:
    if not all(filtered_out):  # nearly always: one of them filters out nothing
        return ()
    offsets = set[int].intersection(*({job.offset for job in jobs} for jobs in filtered_out))
    return [job.record for job in filtered_out[0] if job.offset in offsets]


def jobs_for(records: Sequence[Record], owned: OwnedPartition, owners: int) -> list[Job]:
    """A job for each record that no earlier owner has finished."""
    ledger = owned.ledger
    if not ledger.knows_more:
        return _enter(records, owned, owners)
    # One by one, so that a finished record stands in the ledger in its place among the others.
    return [
        job
        for record in records
        if record.offset < ledger.position or not ledger.pass_over(record.offset, record.timestamp_ms)
        for job in _enter((record,), owned, owners)
    ]


def _enter(records: Sequence[Record], owned: OwnedPartition, owners: int) -> list[Job]:
    """Jobs of these records, without those that the ledger has: the engine may return some twice."""
    ledger = owned.ledger
    if records and records[0].offset < ledger.position:
        records = [record for record in records if record.offset >= ledger.position]
    sizes = sizes_of(records)
    ledger.enter_all([record.offset for record in records], sum(sizes), owners)
    return [Job(record, owned, size) for record, size in zip(records, sizes, strict=True)]
