"""The details of a bus, for authorised eyes: hosts, topics and groups, from a snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict
from typing import Any

from convex_messaging_fastapi.measuring import Speed
from convex_messaging_fastapi.messages.pauses import Pause
from convex_messaging_fastapi.status import (
    BusStatus,
    CommitStatus,
    ContactStatus,
    LossStatus,
    PartitionStatus,
    ProducerStatus,
    WorkerStatus,
)


def details_of(status: BusStatus) -> dict[str, Any]:
    """JSON values only. Times are seconds; an offset is the first unfinished one."""
    return {
        "phase": status.phase.value,
        "producer": None if status.producer is None else _producer(status.producer),
        "consumers": [_consumer(worker) for worker in status.workers],
        "threads": None if status.threads is None else asdict(status.threads),
    }


def _producer(producer: ProducerStatus) -> dict[str, Any]:
    return {
        "alive": producer.alive,
        "needed": producer.needed,
        **_contact(producer.contact),
        "pending": producer.pending,
        "published": producer.published,
        "failed": producer.failed,
        "unknown": producer.unknown,
    }


def _consumer(worker: WorkerStatus) -> dict[str, Any]:
    partitions = worker.partitions
    return {
        "group": worker.group,
        "topics": list(worker.topics),
        "alive": worker.alive,
        **_contact(worker.contact),
        "member": worker.contact.member,
        "rebalancing_seconds": round(worker.rebalancing_seconds, 3) if worker.rebalancing else None,
        "assignments": worker.revision,
        "partitions": len(partitions),
        "running": sum(subscription.running for subscription in worker.subscriptions),
        "waiting": sum(subscription.waiting for subscription in worker.subscriptions),
        "backing_off": sum(subscription.backing_off for subscription in worker.subscriptions),
        "buffered_records": worker.buffered_records,
        "buffered_bytes": worker.buffered_bytes,
        "full": worker.is_full,
        "full_by": None if worker.full_by is None else _place(*worker.full_by),
        "unfinished": sum(partition.unfinished for partition in partitions),
        "filtered": sum(subscription.filtered for subscription in worker.subscriptions),
        "unhandled": worker.unhandled,
        **_lag(partitions),
        "speeds": [_speed(each.id, each.speed) for each in worker.subscriptions if each.speed is not None],
        "passed_over": sum(partition.passed_over for partition in partitions),
        "oldest_unfinished": _oldest(partitions),
        "held": [_held(partition) for partition in partitions if partition.held is not None],
        "breakers_open": [
            {"handler": each.id, "seconds": round(each.breaker.open_seconds, 3)}
            for each in worker.subscriptions
            if each.breaker is not None and each.breaker.is_open
        ],
        "paused": [_paused(each.id, each.paused) for each in worker.subscriptions if each.paused is not None],
        "records_lost": worker.records_lost,
        "losses": [_loss(loss) for loss in worker.losses],
        "commits_failing": [_commits(commits) for commits in worker.commits_failing],
    }


def _lag(partitions: Collection[PartitionStatus]) -> dict[str, Any]:
    """Those of all partitions that are known: nobody asks the cluster for a page of details."""
    lags = [each.lag for each in partitions if each.lag is not None]
    backlogs = [each.backlog for each in partitions if each.backlog is not None]
    behind = [each.time_lag_seconds for each in partitions if each.time_lag_seconds is not None]
    return {
        "lag": sum(lags) if lags else None,
        "backlog": sum(backlogs) if backlogs else None,
        "time_lag_seconds": round(max(behind), 3) if behind else None,
    }


def _speed(handler: str, speed: Speed) -> dict[str, Any]:
    p50, p95 = speed.p50_seconds, speed.p95_seconds
    return {
        "handler": handler,
        "rate": round(speed.rate, 3),
        "p50_seconds": None if p50 is None else round(p50, 6),
        "p95_seconds": None if p95 is None else round(p95, 6),
    }


def _place(topic: str, partition: int) -> dict[str, Any]:
    return {"topic": topic, "partition": partition}


def _contact(contact: ContactStatus) -> dict[str, Any]:
    age = contact.age_seconds
    return {
        "last_contact_seconds": None if age is None else round(age, 3),
        "problem": contact.problem,
        "detail": contact.detail,
        "rebuilds": contact.rebuilds,
    }


def _oldest(partitions: Iterable[PartitionStatus]) -> dict[str, Any] | None:
    """The oldest unfinished record: if a handler hangs, it hangs with this one."""
    unfinished = [partition for partition in partitions if partition.oldest_unfinished is not None]
    if not unfinished:
        return None
    oldest = max(unfinished, key=lambda partition: partition.oldest_age_seconds)
    return {
        "topic": oldest.topic,
        "partition": oldest.partition,
        "offset": oldest.oldest_unfinished,
        "seconds": round(oldest.oldest_age_seconds, 3),
    }


def _held(partition: PartitionStatus) -> dict[str, Any]:
    return {
        "topic": partition.topic,
        "partition": partition.partition,
        "offset": partition.oldest_unfinished,
        "reason": partition.held,
    }


def _paused(handler: str, pause: Pause) -> dict[str, Any]:
    return {
        "handler": handler,
        "by": pause.by,
        "at": pause.at.isoformat(),
        "reason": pause.reason,
        "scope": pause.scope,
    }


def _loss(loss: LossStatus) -> dict[str, Any]:
    return {
        "topic": loss.topic,
        "partition": loss.partition,
        "from": loss.from_offset,
        "to": loss.to_offset,
        "records": loss.records,
        "reason": loss.reason,
        "seconds_ago": round(loss.age_seconds, 3),
    }


def _commits(commits: CommitStatus) -> dict[str, Any]:
    return {
        "topic": commits.topic,
        "partition": commits.partition,
        "seconds": round(commits.seconds, 3),
        "times": commits.times,
        "reason": commits.reason,
    }
