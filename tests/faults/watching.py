"""Notes what a worker's engine asks of Kafka: what it fetched, and what it is about to commit."""

from __future__ import annotations

from collections.abc import Mapping

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Fetched, Position
from convex_messaging_fastapi.transport.kafka.consumer.consumer import KafkaConsumer
from tests.support.ledgers import Writer


def watch(ledger: Writer) -> None:
    """From now on, for every consumer of this process."""
    fetch, commit = KafkaConsumer.fetch, KafkaConsumer.commit

    async def noted_fetch(self: KafkaConsumer, wanted: Mapping[TopicPartition, int], wait: float) -> Fetched:
        fetched = await fetch(self, wanted, wait)
        for (topic, partition), records in fetched.records.items():
            if records:
                first, last = records[0].offset, records[-1].offset
                about = {"topic": topic, "partition": partition, "offset": first, "last": last}
                ledger.note("fetched", **about, many=len(records), epoch=fetched.epoch)
        return fetched

    async def noted_commit(
        self: KafkaConsumer, epoch: int, offsets: Mapping[TopicPartition, Position], deadline: float
    ) -> Mapping[TopicPartition, CommitOutcome]:
        _note(ledger, "commit", epoch, offsets)
        outcomes = await commit(self, epoch, offsets, deadline)
        stored = {where for where, outcome in outcomes.items() if outcome is CommitOutcome.COMMITTED}
        _note(ledger, "committed", epoch, {where: offsets[where] for where in stored})
        return outcomes

    KafkaConsumer.fetch = noted_fetch  # type: ignore[method-assign]
    KafkaConsumer.commit = noted_commit  # type: ignore[method-assign]


def _note(ledger: Writer, event: str, epoch: int, offsets: Mapping[TopicPartition, Position]) -> None:
    for (topic, partition), position in offsets.items():
        ledger.note(event, topic=topic, partition=partition, offset=position.offset, epoch=epoch)
