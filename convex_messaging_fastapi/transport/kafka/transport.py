"""Kafka as a transport: what one bus needs, made from its settings. Building it does no I/O."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.kafka.admin import KafkaAdmin
from convex_messaging_fastapi.transport.kafka.consumer import Instance, KafkaConsumer
from convex_messaging_fastapi.transport.kafka.engine import Access, Member, Writer, held_back, patch_engine
from convex_messaging_fastapi.transport.kafka.offsets import History
from convex_messaging_fastapi.transport.kafka.producer import KafkaProducer
from convex_messaging_fastapi.transport.kafka.recovery import (
    Explanation,
    MissingTopics,
    Outage,
    Reached,
    Supervisor,
    reach,
)
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

_SMALLEST_FETCH = 1024 * 1024


class KafkaTransport:
    """Implements `Transport`."""

    def __init__(self, settings: MessagingSettings, clock: Clock, *, tuning: Tuning | None = None) -> None:
        self._settings, self._clock = settings, clock
        self._tuning = tuning or Tuning()
        self._access = Access(settings)
        # As long as the group has a consumer: groups come and go by the thousand.
        self._histories: WeakValueDictionary[str, History] = WeakValueDictionary()
        patch_engine(clock)
        self._outage = Outage(settings.bootstrap_servers, clock, held_back)

    def producer(self) -> KafkaProducer:
        return KafkaProducer(self._clock, self._tuning, self._supervise_writer)

    def consumer(self, group: str) -> KafkaConsumer:
        return KafkaConsumer(
            group,
            self._clock,
            self._tuning,
            self._histories.setdefault(group, History()),
            Instance(self._settings.group_instance_id, f"{self._settings.bootstrap_servers}\0{group}"),
            reset_policy=self._settings.auto_offset_reset,
            drain_seconds=self._settings.revoke_drain_seconds,
            session_seconds=self._settings.session_timeout_ms / 1000,
            supervise=lambda consumer: self._supervise_member(group, consumer),
            missing=MissingTopics(
                group,
                self._clock,
                are_made=self._settings.create_topics,
                patience_seconds=self._tuning.missing_seconds,
            ),
        )

    def admin(self) -> KafkaAdmin:
        return KafkaAdmin(
            self._clock,
            self._tuning,
            self._settings.request_timeout_ms,
            reach=self._reach,
            options=self._client_options,
        )

    async def _reach(self) -> Reached | Explanation:
        return await reach(self._access, self._settings.client_id, self._tuning.probe_seconds)

    def _supervise_writer(self) -> Supervisor[Writer]:
        return Supervisor(
            "the producer",
            self._clock,
            self._tuning,
            reach=self._reach,
            build=lambda reached: Writer(**self._client_options(reached)),
            started=lambda writer: None,
            lost=_nothing_held,
            overlap=True,
            outage=self._outage,
        )

    def _supervise_member(self, group: str, consumer: KafkaConsumer) -> Supervisor[Member]:
        return Supervisor(
            f"group {group}",
            self._clock,
            self._tuning,
            reach=self._reach,
            build=lambda reached: Member(
                **self._member_options(group, reached),
                group_instance_id=consumer.instance.claim(),
                ghosts=consumer.history.ghosts,
            ),
            started=consumer.started,
            lost=consumer.lost,
            overlap=False,
            outage=self._outage,
        )

    def _client_options(self, reached: Reached) -> dict[str, Any]:
        return {
            **reached.options,
            "anywhere": self._access.anywhere,
            "client_id": self._settings.client_id,
            "request_timeout_ms": self._settings.request_timeout_ms,
            "retry_backoff_ms": self._tuning.retry_backoff_ms,
            "metadata_max_age_ms": self._tuning.metadata_max_age_ms,
        }

    def _member_options(self, group: str, reached: Reached) -> dict[str, Any]:
        s, t = self._settings, self._tuning
        return {
            **self._client_options(reached),
            "request_timeout_ms": s.consumer_request_timeout_ms,
            "group_id": group,
            "enable_auto_commit": False,
            # Positions are always ours; where the log has them not, the engine must say so.
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            # Exactly one: the engine joins once for each.
            "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
            "session_timeout_ms": s.session_timeout_ms,
            "rebalance_timeout_ms": s.rebalance_timeout_ms,
            "heartbeat_interval_ms": s.heartbeat_interval_ms,
            "fetch_max_bytes": max(_SMALLEST_FETCH, s.max_buffer_bytes // 4),
            "fetch_max_wait_ms": t.fetch_max_wait_ms,
            "check_crcs": t.check_crcs,
            "unpacked_bytes": max(t.unpacked_bytes, s.max_buffer_bytes, 2 * s.max_message_bytes),
        }


async def _nothing_held(writer: Writer) -> None:
    """A producer holds no partitions."""
