"""Kafka as a transport: makes what one bus needs from its settings. Making it does no I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.kafka.admin import Inspector, KafkaAdmin, Knock, knock
from convex_messaging_fastapi.transport.kafka.consumer import InstanceId, KafkaConsumer, KafkaGroups, Terms
from convex_messaging_fastapi.transport.kafka.engine import (
    Access,
    Client,
    Member,
    PartitionReader,
    Transactions,
    Writer,
    held_back,
    patch_engine,
)
from convex_messaging_fastapi.transport.kafka.log_reader import KafkaLogReader
from convex_messaging_fastapi.transport.kafka.offsets import History
from convex_messaging_fastapi.transport.kafka.producer import KafkaProducer, KafkaTransactional
from convex_messaging_fastapi.transport.kafka.recovery import (
    Engine,
    EngineKind,
    Explanation,
    Outage,
    Reached,
    Supervisor,
    reach,
)
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

E = TypeVar("E", bound=Engine)

_SMALLEST_FETCH = 1024 * 1024

_READ_AT_ONCE_BYTES = 4 * 1024 * 1024
"""How much a reader of whole logs fetches at once: between two the engine may wait 0.1 s. More of it would
hold up the loop for longer while it is taken in."""

_READ_OF_FEW_BYTES = 16 * 1024
"""The same for one of a few records. A batch that is larger comes whole."""


class KafkaTransport:
    """Implements `Transport`."""

    def __init__(
        self,
        settings: MessagingSettings,
        clock: Clock,
        *,
        tuning: Tuning | None = None,
        observers: Observers = ONLY_THE_LOG,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._tuning = tuning or Tuning()
        self._access = Access(settings)
        # Kept while the group has a consumer: groups may come and go by the thousand.
        self._histories: WeakValueDictionary[str, History] = WeakValueDictionary()
        patch_engine(clock)
        self._outage = Outage(settings.bootstrap_servers, clock, held_back, observers)

    def producer(self) -> KafkaProducer:
        kind = EngineKind("the producer", self._reach, self._writer, overlap=True)
        return KafkaProducer(self._clock, self._tuning, self._supervisor(kind))

    def consumer(self, group: str) -> KafkaConsumer:
        history = self._histories.setdefault(group, History(group, self._clock))
        scope = f"{self._settings.bootstrap_servers}\0{group}"
        instance = InstanceId(self._settings.group_instance_id, scope)
        kind = EngineKind(
            f"group {group}",
            self._reach,
            lambda reached: self._member(group, reached, history, instance),
            overlap=False,
        )
        terms = Terms(
            group=group,
            reset_policy=self._settings.auto_offset_reset,
            drain_seconds=self._settings.revoke_drain_seconds,
            session_seconds=self._settings.session_timeout_ms / 1000,
            topics_are_made=self._settings.create_topics,
        )
        supervisor = self._supervisor(kind)
        return KafkaConsumer(terms, self._clock, self._tuning, history, instance, supervisor)

    def admin(self) -> KafkaAdmin:
        return KafkaAdmin(
            self._clock,
            self._tuning,
            self._settings.request_timeout_ms,
            reach=self._reach,
            options=self._client_options,
        )

    @asynccontextmanager
    async def inspecting(self) -> AsyncIterator[Inspector]:
        """A look at the cluster as such. Raises `TransportError` where none can be reached."""
        reached = await self._reach()
        if isinstance(reached, Explanation):
            raise TransportError(reached.detail, reached.problem.value)
        async with Inspector.on(Client.asking(**self._client_options(reached))) as inspector:
            yield inspector

    async def knock(self, server: str, seconds: float) -> Knock:
        """What becomes of a connection to one of the addresses, or to another one."""
        return await knock(self._access, server, self._settings.client_id, seconds)

    def log_reader(self, *, uncommitted: bool = False, few: bool = False) -> KafkaLogReader:
        return KafkaLogReader(
            self._clock,
            replace(self._tuning, retry_seconds=0.0) if uncommitted else self._tuning,
            self._settings.request_timeout_ms / 1000,
            reach=self._reach,
            client=lambda reached: Client.asking(**self._client_options(reached)),
            reader=partial(self._partition_reader, uncommitted=uncommitted, few=few),
        )

    def groups(self) -> KafkaGroups:
        return KafkaGroups(
            self._clock,
            self._tuning,
            self._settings.request_timeout_ms / 1000,
            reach=self._reach,
            client=lambda reached: Client.asking(**self._client_options(reached)),
        )

    def transactional(self, id: str, timeout_seconds: float) -> KafkaTransactional:
        timeout_ms = int(timeout_seconds * 1000)
        return KafkaTransactional(
            self._clock,
            self._tuning,
            self._settings.request_timeout_ms / 1000,
            id,
            reach=self._reach,
            transactions=lambda reached: Transactions(
                Client.asking(**self._client_options(reached)), id, timeout_ms
            ),
        )

    async def _reach(self) -> Reached | Explanation:
        return await reach(self._access, self._settings.client_id, self._tuning.probe_seconds)

    def _supervisor(self, kind: EngineKind[E]) -> Supervisor[E]:
        return Supervisor(kind, self._clock, self._tuning, self._outage)

    def _writer(self, reached: Reached) -> Writer:
        return Writer(**self._client_options(reached))

    def _partition_reader(self, reached: Reached, *, uncommitted: bool, few: bool) -> PartitionReader:
        options = self._reading_options(reached) | {
            "fetch_max_bytes": _READ_AT_ONCE_BYTES,
            "max_partition_fetch_bytes": _READ_OF_FEW_BYTES if few else _READ_AT_ONCE_BYTES,
        }
        if uncommitted:
            options["isolation_level"] = "read_uncommitted"
        return PartitionReader(**options)

    def _member(self, group: str, reached: Reached, history: History, instance: InstanceId) -> Member:
        return Member(
            **self._member_options(group, reached),
            group_instance_id=instance.claim(),
            ghosts=history.ghosts,
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

    def _reading_options(self, reached: Reached) -> dict[str, Any]:
        s, t = self._settings, self._tuning
        return {
            **self._client_options(reached),
            "enable_auto_commit": False,
            # Positions are always ours; if the log does not have one, the engine must raise.
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "fetch_max_bytes": max(_SMALLEST_FETCH, s.max_buffer_bytes // 4),
            "fetch_max_wait_ms": t.fetch_max_wait_ms,
            "check_crcs": t.check_crcs,
            "unpacked_bytes": max(t.unpacked_bytes, s.max_buffer_bytes, 2 * s.max_message_bytes),
        }

    def _member_options(self, group: str, reached: Reached) -> dict[str, Any]:
        s = self._settings
        return {
            **self._reading_options(reached),
            "request_timeout_ms": s.consumer_request_timeout_ms,
            "group_id": group,
            # Exactly one, because the engine joins once for each.
            "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
            "session_timeout_ms": s.session_timeout_ms,
            "rebalance_timeout_ms": s.rebalance_timeout_ms,
            "heartbeat_interval_ms": s.heartbeat_interval_ms,
        }
