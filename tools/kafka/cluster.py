"""What a test holds of a real Kafka: brokers to kill, freeze and start again, and ways to wait for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.cimpl import NewTopic

from tools.waiting import until

READY_SECONDS = 60.0
ANSWER_SECONDS = 2.0
DEFAULT_PARTITIONS = 4


class Unavailable(Exception):
    """A way to a Kafka is closed; the text says what to install or start."""


class Broker(Protocol):
    """One broker. All calls block; on an event loop call them by `asyncio.to_thread`."""

    id: int
    address: str
    touched: bool
    """Whether a test has meddled with it since it was last whole."""

    @property
    def alive(self) -> bool: ...

    def start(self) -> None:
        """Start it (again, on its old data). Returns at once: wait with `Cluster.wait_ready`."""
        ...

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        ...

    def terminate(self) -> None:
        """SIGTERM: it hands its leaderships over and leaves; wait until it is gone."""
        ...

    def pause(self) -> None:
        """Freeze it: sockets stay open, nothing answers."""
        ...

    def resume(self) -> None: ...

    def tail(self) -> str:
        """The last lines of its log."""
        ...


class Cluster:
    """What tests hold. `origin` says where it came from; a named cluster has no `brokers`.

    `bootstrap` is for clients. `witnessed` is where tests look: the same, unless the way of the
    clients may be cut.
    """

    def __init__(
        self, bootstrap: str, origin: str, size: int, brokers: Sequence[Broker] = (), witnessed: str = ""
    ) -> None:
        self.bootstrap = bootstrap
        self._witnessed = witnessed
        self.origin = origin
        self.size = size
        self.brokers = tuple(brokers)

    @property
    def witnessed(self) -> str:
        return self._witnessed or self.bootstrap

    def admin(self) -> AdminClient:
        """A new confluent-kafka admin client that comes back quickly when a broker does."""
        return AdminClient(self._settings(self.witnessed))

    def create_topic(
        self,
        name: str,
        partitions: int = DEFAULT_PARTITIONS,
        replication_factor: int = -1,
        config: Mapping[str, str] | None = None,
    ) -> str:
        """Create it and wait until every partition has a leader; its name."""
        admin = self.admin()
        topic = NewTopic(name, partitions, replication_factor, config=dict(config or {}))
        admin.create_topics([topic], operation_timeout=10)[name].result(20)
        until(lambda: self._is_led(admin, name, partitions), 20, f"leaders of {name}")
        return name

    def delete_topic(self, name: str) -> None:
        """Delete it and wait until nobody tells of it any more."""
        admin = self.admin()
        admin.delete_topics([name], operation_timeout=10)[name].result(20)
        until(lambda: name not in admin.list_topics(timeout=10).topics, 20, f"{name} to be gone")

    def leader(self, topic: str, partition: int = 0) -> Broker:
        """The broker that leads a partition now."""
        leader = self.metadata().topics[topic].partitions[partition].leader
        return next(broker for broker in self.brokers if broker.id == leader)

    def metadata(self) -> ClusterMetadata:
        return self.admin().list_topics(timeout=10)

    def wait_ready(self, within: float = READY_SECONDS) -> None:
        """Wait until every broker answers for itself, all are members, and groups find a coordinator."""
        self.wait_answering(within)
        # not the admin client's list_consumer_group_offsets: it crashes when a coordinator is still loading
        consumer = Consumer(self._settings(self.witnessed) | {"group.id": "is-a-coordinator-there"})
        self._until(lambda: _finds_coordinator(consumer), within, "a group coordinator")
        consumer.close()

    def wait_answering(self, within: float = READY_SECONDS) -> None:
        """Wait until every broker answers for itself and all are members, whatever becomes of groups."""
        for address in [broker.address for broker in self.brokers] or [self.witnessed]:
            self._wait_answer(address, within)

    def wait_full_isr(self, within: float = READY_SECONDS) -> None:
        """Wait until every replica of every partition is in sync."""
        admin = self.admin()
        self._until(lambda: self._sees_all(admin) and _in_sync(admin), within, "in-sync replicas")

    def heal(self, within: float = READY_SECONDS) -> None:
        """Start what is dead, thaw what is frozen, and wait until all is as it was."""
        for broker in self.brokers:
            broker.resume()
            if not broker.alive:
                broker.start()
        self.wait_ready(within)
        self.wait_full_isr(within)
        for broker in self.brokers:
            broker.touched = False

    @property
    def untouched(self) -> bool:
        """Whether no broker was killed, ended or frozen since the cluster was last whole."""
        return not any(broker.touched for broker in self.brokers)

    def _settings(self, bootstrap: str) -> dict[str, str | int | float | bool]:
        return {
            "bootstrap.servers": bootstrap,
            "reconnect.backoff.max.ms": 200,
            "socket.timeout.ms": 5000,
            "log_level": 0,
        }

    def _wait_answer(self, address: str, within: float) -> None:
        # A client each time: one whose first question met a frozen broker may never be answered again.
        looks = Looks(lambda: AdminClient(self._settings(address)))
        try:
            self._until(lambda: looks.brokers() >= self.size, within, f"a broker at {address}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\nthe last look at {address}: {looks.last}") from None

    def _sees_all(self, admin: AdminClient) -> bool:
        try:
            return len(admin.list_topics(timeout=1).brokers) >= self.size
        except KafkaException:
            return False

    def _a_broker_died(self) -> bool:
        return not all(broker.alive for broker in self.brokers)

    def _is_led(self, admin: AdminClient, topic: str, partitions: int) -> bool:
        found = admin.list_topics(topic, timeout=10).topics[topic]
        return len(found.partitions) == partitions and all(
            p.error is None and p.leader >= 0 for p in found.partitions.values()
        )

    def _until(self, condition: Callable[[], object], within: float, what: str) -> None:
        try:
            until(lambda: condition() or self._a_broker_died(), within, what)
            if self._a_broker_died():
                raise TimeoutError(f"a broker ended while a test waited for {what}")
        except TimeoutError as error:
            logs = "\n".join(f"--- broker {b.id}, alive={b.alive}\n{b.tail()}" for b in self.brokers)
            raise TimeoutError(f"{error}\n{logs}") from None


class Looks:
    """How many brokers a cluster has, asked by a new client at each look; what the last one found."""

    def __init__(self, client: Callable[[], AdminClient]) -> None:
        self._client = client
        self.last = "none"

    def brokers(self) -> int:
        """0 where nobody answered."""
        try:
            found = sorted(self._client().list_topics(timeout=ANSWER_SECONDS).brokers)
        except KafkaException as error:
            self.last = str(error)
            return 0
        self.last = f"brokers {found}"
        return len(found)


def _finds_coordinator(consumer: Consumer) -> bool:
    """Whether a group's offsets can be asked for; the first asking makes the topic that holds them."""
    try:
        consumer.committed([TopicPartition("__cluster_metadata", 0)], timeout=2)
    except KafkaException:
        return False
    return True


def _in_sync(admin: AdminClient) -> bool:
    try:
        topics = admin.list_topics(timeout=2).topics.values()
    except KafkaException:
        return False
    return all(
        len(p.isrs) == len(p.replicas) and p.leader >= 0 for t in topics for p in t.partitions.values()
    )
