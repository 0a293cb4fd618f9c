"""The engine's client: it creates no topic by mistake, and knows when a broker last answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from traceback import walk_tb
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason, collect_hosts
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NoError,
    RebalanceInProgressError,
)
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from aiokafka.protocol.metadata import MetadataRequest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.kafka.engine.batches import readable, unpacking_at_most
from convex_messaging_fastapi.transport.kafka.engine.codes import for_code
from convex_messaging_fastapi.transport.kafka.engine.connections.connecting import CandidConnection
from convex_messaging_fastapi.transport.kafka.engine.connections.topic_ids import (
    Cluster,
    IdentifyingRequest,
    KnownTopicIds,
)
from convex_messaging_fastapi.transport.kafka.engine.ours import ours

PAUSE_SECONDS = 0.01
"""The shortest time between two requests for metadata."""

REFUSED_SECONDS = 5.0
"""How long after a refused login no other is tried. Left alone, the engine tries six a second."""

_COUNTS_ON_US = (NoError.errno, RebalanceInProgressError.errno)
"""Error codes that answer a heartbeat of a member that is in its group."""

CONNECT_MS = 5_000
"""How long connecting to a broker may take. The engine connects to one broker at a time, and would allow each
the time of a request: one broker that never answered kept all others waiting for half a minute."""


class TopicAnswer(NamedTuple):
    """What one broker said of a topic. `error` is the class of the engine's error, or `NoError`."""

    error: type[Exception]
    partitions: int

    @property
    def exists(self) -> bool:
        return self.error is NoError and self.partitions > 0


@dataclass(slots=True)
class Sought:
    """The group has had no coordinator that can be reached since then (`time.monotonic`), and why not."""

    since: float
    word: str


class Connection(CandidConnection):
    """A connection whose requests for metadata never create topics, and that breaks as the engine expects."""

    _pinged_at = float("-inf")
    _pinging: frozenset[asyncio.Task[None]] = frozenset()

    def send(self, request: Any, expect_response: bool = True) -> Any:
        if type(request) is MetadataRequest:
            request = IdentifyingRequest(request)
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            # uvloop raises it for a write to a connection just closed, and it would end tasks of the engine.
            self.close(CloseReason.CONNECTION_BROKEN, error)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error

    def _handle_frame(self, resp: bytes) -> None:
        # An earlier answer in the same read may have closed the connection: then nobody waits for this one.
        if self._requests or self.connected():
            super()._handle_frame(resp)

    def ping_if_overdue(self, seconds: float) -> None:
        """Send a request of our own if the broker owes an answer and has been silent for `seconds`.

        A broker answers in the order of requests. If it answers this one first, an earlier answer was
        lost, and the engine makes a new connection; alone it would wait for half a minute. This request may
        be lost as well, so another follows after `seconds` more.
        """
        now = time.monotonic()
        quiet = now - max(self._last_action, self._pinged_at) > seconds
        if quiet and self._requests and self.connected():
            self._pinged_at = now
            asking = asyncio.ensure_future(self._ask_anything())
            self._pinging |= {asking}
            asking.add_done_callback(self._was_answered)

    def _was_answered(self, asking: asyncio.Task[None]) -> None:
        self._pinging -= {asking}

    async def _ask_anything(self) -> None:
        # Whoever waits for the earlier answers learns what becomes of the connection.
        with suppress(KafkaError, asyncio.TimeoutError):
            await self.send(ApiVersionRequest())


class Client(AIOKafkaClient):  # type: ignore[misc]
    """The engine's client, and what a supervisor needs to know of it."""

    _ended = False
    _refused_until = 0.0
    _heard_at = 0.0
    _patience: float | None = None
    _unreached: Mapping[int, str] = MappingProxyType({})
    _sought: Sought | None = None
    mending: frozenset[TopicPartition] = frozenset()
    """Partitions whose batches are mended before the engine reads them."""
    anywhere = False
    """Whether its credentials may go unencrypted to hosts that are not loopback."""
    unpacked_bytes = 0
    """How many bytes a batch may unpack to when it is mended."""

    @classmethod
    def asking(cls, *, anywhere: bool = False, **options: Any) -> Self:
        """A client for a few requests. None waits long, because a network may lose it without a word."""
        client = cls(**options)
        client.anywhere = anywhere
        client._request_timeout_ms = min(client._request_timeout_ms, CONNECT_MS)
        client._patience = client._request_timeout_ms / 1000
        return client

    @classmethod
    def adopt(cls, client: AIOKafkaClient, *, anywhere: bool = False) -> Self:
        """Make a client of ours from the one that a consumer or producer of the engine made for itself."""
        client.__class__ = cls
        adopted: Self = client
        adopted.anywhere = anywhere
        Cluster.adopt(client.cluster)
        adopted._patience = client._request_timeout_ms / 1000
        adopted._request_timeout_ms = min(client._request_timeout_ms, CONNECT_MS)
        return adopted

    def ours(self) -> AbstractContextManager[None]:
        """A context for every call of the engine: what it does inside is done for us."""
        return ours(anywhere=self.anywhere)

    async def send(
        self, node_id: Any, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT
    ) -> Any:
        asked_at = time.monotonic()
        with self.ours():
            answer = await super().send(node_id, request, group=group)
        if isinstance(request, HeartbeatRequest) and answer.error_code in _COUNTS_ON_US:
            self._heard_at = asked_at
        elif isinstance(request, SyncGroupRequest):
            self._heard_at = time.monotonic()  # the session begins with the answer, which may come late
        if self.mending and isinstance(request, FetchRequest):
            for topic, partitions in answer.topics:
                partitions[:] = [self._mended(topic, described) for described in partitions]
        return answer

    def _mended(self, topic: str, described: tuple[Any, ...]) -> tuple[Any, ...]:
        """The answer of one partition with its records mended: the number comes first, the records last."""
        if TopicPartition(topic, described[0]) not in self.mending:
            return described
        with unpacking_at_most(self.unpacked_bytes):
            return (*described[:-1], readable(described[-1]))

    async def bootstrap(self) -> None:
        try:
            with self.ours():
                await super().bootstrap()
        except BaseException as error:
            # Cancelled during its first request, the engine forgets to close the connection.
            for frame, _ in walk_tb(error.__traceback__):
                if frame.f_code is AIOKafkaClient.bootstrap.__code__:
                    _close(frame.f_locals.get("bootstrap_conn"))
            raise

    async def _get_conn(
        self, node_id: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> Any:
        if self._ended or (self.refused and not self._is_open(node_id, group)):
            return None
        with self.ours():
            connection = await super()._get_conn(node_id, group=group, no_hint=no_hint)
        if connection is None:
            if (address := self._address(node_id)) is not None:
                self._unreached = {**self._unreached, node_id: address}
            return None
        if group is ConnectionGroup.COORDINATION:
            self._sought = None  # its answers prove nothing: that to a join may take a whole rebalance
        if node_id in self._unreached:
            self._unreached = {id: at for id, at in self._unreached.items() if id != node_id}
        connection.__class__ = Connection
        if self._patience is not None:
            connection._request_timeout = self._patience
        if self._ended:
            connection.close()
            return None
        return connection

    async def send_patiently(self, node_id: Any, request: Any, seconds: float) -> Any:
        """Send a request that takes its time, and wait up to `seconds` for the answer."""
        usual, self._patience = self._patience, seconds
        try:
            return await self.send(node_id, request)
        finally:
            self._patience = usual

    @property
    def hosts(self) -> Any:
        # In the order given: the first has just answered a probe, and another may never answer.
        return collect_hosts(self._bootstrap_servers, randomize=False)

    def _address(self, node_id: Any) -> str | None:
        broker = self.cluster.broker_metadata(node_id)
        if broker is None:
            return None
        return f"[{broker.host}]:{broker.port}" if ":" in broker.host else f"{broker.host}:{broker.port}"

    def unreachable(self) -> dict[int, str]:
        """The addresses of brokers, by id, to which the last connection could not be made."""
        return {id: address for id, address in self._unreached.items() if self._address(id) == address}

    async def coordinator_lookup(self, coordinator_type: Any, coordinator_key: Any) -> Any:
        sought = self._sought = self._sought or Sought(time.monotonic(), "")
        try:
            found = await super().coordinator_lookup(coordinator_type, coordinator_key)
        except KafkaError as error:
            sought.word = f"{type(error).__name__}: {error}"
            raise
        sought.word = f"broker {found} should be it, at {self._address(found)}, and cannot be reached"
        return found

    def coordinator_sought(self) -> tuple[float, str] | None:
        """For how many seconds the group has had no coordinator, and why; `None` if it has one."""
        sought = self._sought
        return None if sought is None else (time.monotonic() - sought.since, sought.word)

    def refused_topics(self, topics: Iterable[str]) -> dict[str, type[KafkaError]]:
        """The errors by which the last metadata refused some of `topics`."""
        refused = self.cluster.refused
        return {topic: refused[topic] for topic in topics if topic in refused}

    def _on_connection_closed(self, conn: Any, reason: Any) -> None:
        if reason is CloseReason.AUTH_FAILURE:
            self._refused_until = time.monotonic() + REFUSED_SECONDS
        super()._on_connection_closed(conn, reason)

    def _is_open(self, node_id: Any, group: ConnectionGroup) -> bool:
        connection = self._conns.get((node_id, group))
        return connection is not None and bool(connection.connected())

    @property
    def refused(self) -> bool:
        """Whether a broker has just refused these credentials."""
        return time.monotonic() < self._refused_until

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        # While a partition has no leader the engine asks again as soon as it is answered, or refused, which
        # takes a whole processor. The pause is not on the bus's clock, because the engine's loop is not.
        updated: bool = await super()._metadata_update(cluster_metadata, topics)
        await asyncio.sleep(PAUSE_SECONDS if updated else self._retry_backoff)
        return updated

    def force_metadata_update(self) -> asyncio.Future[bool]:
        # After the end nobody answers, so a caller would wait for ever.
        if self._ended:
            never: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            never.set_result(False)
            return never
        update: asyncio.Future[bool] = super().force_metadata_update()
        return update

    async def close(self) -> None:
        self._ended = True
        update = self._md_update_fut
        with self.ours():
            await super().close()
        if update is not None and not update.done():
            update.set_result(False)

    def seconds_since_answer(self) -> float | None:
        """Seconds since a broker last answered on a connection that is open; `None` without one."""
        answers = [connection._last_action for connection in self._conns.values()]
        return time.monotonic() - max(answers) if answers else None

    def seconds_since_heartbeat(self) -> float:
        """Seconds since the last answered heartbeat was sent; the session is counted from then."""
        return time.monotonic() - self._heard_at

    def close_connections(self) -> None:
        """Close every connection. Requests that wait for an answer there fail, and may be sent again."""
        with self.ours():
            for connection in tuple(self._conns.values()):
                connection.close()

    def ping_overdue_connections(self, seconds: float) -> None:
        """Ping each connection that owes an answer and has been silent for `seconds`."""
        with self.ours():
            for connection in tuple(self._conns.values()):
                if isinstance(connection, Connection):
                    connection.ping_if_overdue(seconds)

    def refresh_metadata(self) -> None:
        """Request metadata, so that a healthy cluster is heard from even without work."""
        self.force_metadata_update()

    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has by the last metadata; 0 if the metadata does not have it."""
        return len(self.cluster.partitions_for_topic(topic) or ())

    @property
    def topic_ids(self) -> KnownTopicIds:
        topic_ids: KnownTopicIds = self.cluster.topic_ids
        return topic_ids

    @property
    def metadata_task(self) -> asyncio.Task[None] | None:
        task: asyncio.Task[None] | None = self._sync_task
        return task

    async def ask(self, topic: str) -> TopicAnswer:
        """What some broker says of `topic` right now.

        Raises `KafkaError` when that broker does not answer. The engine's own wait for metadata does not
        tell a missing topic from a missing cluster.
        """
        node = self.get_random_node()
        if node is None:
            raise NodeNotReadyError("no broker is known yet")
        response = await self.send(node, MetadataRequest([topic]))
        described = next(t for t in response.to_object()["topics"] if t["topic"] == topic)
        return TopicAnswer(for_code(described["error_code"]), len(described["partitions"]))

    async def follow(self, topic: str) -> None:
        """Learn where the partitions of `topic` are, now and with every later metadata."""
        self.add_topic(topic)
        await self.force_metadata_update()


def _close(connection: CandidConnection | None) -> None:
    if connection is not None:
        connection.close()
