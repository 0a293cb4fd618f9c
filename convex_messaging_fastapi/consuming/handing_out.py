"""Enters what was fetched in the ledger, and hands on what nobody has handled yet."""

from __future__ import annotations

from collections.abc import Sequence

from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.subscription import Subscription
from convex_messaging_fastapi.records import Record, sizes_of


def hand_out(
    records: Sequence[Record], owned: OwnedPartition, subscriptions: Sequence[Subscription]
) -> Sequence[Record]:
    """Enter records in the ledger, then queue them; in this order, or a commit could pass them.

    Returns those that every subscription has passed over.
    """
    jobs = jobs_for(records, owned, len(subscriptions))
    passed_over = [
        subscription.offer(owned, [Job(job.record, owned, job.size) for job in jobs])
        for subscription in subscriptions[1:]
    ]
    passed_over.append(subscriptions[0].offer(owned, jobs))
    return _in_all(passed_over)


def _in_all(passed_over: Sequence[Sequence[Job]]) -> Sequence[Record]:
    if not all(passed_over):  # nearly always: one of them passes over nothing
        return ()
    offsets = set[int].intersection(*({job.record.offset for job in jobs} for jobs in passed_over))
    return [job.record for job in passed_over[0] if job.record.offset in offsets]


def jobs_for(records: Sequence[Record], owned: OwnedPartition, owners: int) -> list[Job]:
    """What is to be done for the records that nobody has handled yet."""
    ledger = owned.ledger
    if not ledger.knows_more:
        return _enter(records, owned, owners)
    # One by one: what is passed over stands in the ledger among the others, in its order.
    return [
        job
        for record in records
        if record.offset < ledger.position or not ledger.pass_over(record.offset, record.timestamp_ms)
        for job in _enter((record,), owned, owners)
    ]


def _enter(records: Sequence[Record], owned: OwnedPartition, owners: int) -> list[Job]:
    """Jobs of these records, but for those that the ledger has: the engine may return some again."""
    ledger = owned.ledger
    if records and records[0].offset < ledger.position:
        records = [record for record in records if record.offset >= ledger.position]
    sizes = sizes_of(records)
    ledger.enter_all([record.offset for record in records], sum(sizes), owners)
    return [Job(record, owned, size) for record, size in zip(records, sizes, strict=True)]
