"""A Kafka cluster of containers, by Testcontainers, from Apache's own image."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack, closing

import docker
from docker.errors import DockerException
from docker.models.containers import Container
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tools.kafka.cluster import Cluster, Unavailable
from tools.kafka.common import CLUSTER_ID, free_ports, shared_properties
from tools.kafka.jars import KAFKA_VERSION

IMAGE = f"apache/kafka:{KAFKA_VERSION}"
CLIENT, INTERNAL, CONTROLLER = 9092, 19092, 9093


class ContainerBroker:
    """One broker in a container; its data lives as long as the container."""

    def __init__(self, id: int, address: str, container: DockerContainer) -> None:
        self.id = id
        self.address = address
        self.touched = False
        self._container = container

    @property
    def alive(self) -> bool:
        return self._state() in ("running", "paused")

    def start(self) -> None:
        if not self.alive:
            self._wrapped.start()

    def kill(self) -> None:
        self.touched = True
        if self.alive:
            self._wrapped.kill("SIGKILL")
            self._wrapped.wait(timeout=10)

    def terminate(self) -> None:
        self.touched = True
        if self.alive:
            self._wrapped.stop(timeout=30)

    def pause(self) -> None:
        self.touched = True
        self._wrapped.pause()

    def resume(self) -> None:
        if self._state() == "paused":
            self._wrapped.unpause()

    def tail(self) -> str:
        said: bytes = self._wrapped.logs(tail=15)
        return said.decode(errors="replace")

    @property
    def _wrapped(self) -> Container:
        return self._container.get_wrapped_container()

    def _state(self) -> str:
        self._wrapped.reload()
        return str(self._wrapped.status)


def engine() -> None:
    """Raise `Unavailable` unless a Docker engine answers at once."""
    try:
        _knock(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
        with closing(docker.from_env(timeout=3)) as client:
            client.ping()
    except (DockerException, OSError):
        raise Unavailable("no Docker engine answers: start Docker") from None


def _knock(engine: str) -> None:
    """Docker's own client leaves its socket open when nobody answers, and a warning is an error here."""
    scheme, _, path = engine.partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(3)
            door.connect(path)


def start(size: int, ends: ExitStack, ports: Sequence[int] = ()) -> Cluster:
    """A started cluster, not yet ready; `ends` removes it. Raises `Unavailable` without engine or image."""
    engine()
    free = free_ports()
    ports = ports or [next(free) for _ in range(size)]
    try:
        network = ends.enter_context(Network())
        brokers = [_start_broker(id, size, port, network, ends) for id, port in enumerate(ports, 1)]
    except (DockerException, OSError) as error:
        raise Unavailable(f"Docker could not start {IMAGE}: {error}") from None
    bootstrap = ",".join(broker.address for broker in brokers)
    return Cluster(bootstrap, f"Apache Kafka {KAFKA_VERSION} by Testcontainers", size, brokers)


def _start_broker(id: int, size: int, port: int, network: Network, ends: ExitStack) -> ContainerBroker:
    container = DockerContainer(IMAGE, network=network, network_aliases=[f"kafka-{id}"])
    host = container.get_docker_client().host()
    container.with_bind_ports(CLIENT, port)
    container.with_envs(**_environment(id, size, f"{host}:{port}"))
    ends.enter_context(container)
    return ContainerBroker(id, f"{host}:{port}", container)


def _environment(id: int, size: int, advertised: str) -> dict[str, str]:
    """The image turns `KAFKA_NODE_ID` into `node.id`, and so on."""
    properties = {
        "process.roles": "broker,controller",
        "node.id": str(id),
        "controller.quorum.voters": ",".join(f"{n}@kafka-{n}:{CONTROLLER}" for n in range(1, size + 1)),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INTERNAL",
        "listeners": f"CLIENT://:{CLIENT},INTERNAL://:{INTERNAL},CONTROLLER://:{CONTROLLER}",
        "advertised.listeners": f"CLIENT://{advertised},INTERNAL://kafka-{id}:{INTERNAL}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "/var/lib/kafka/data",
        **shared_properties(size),
    }
    named = {"KAFKA_" + name.upper().replace(".", "_"): value for name, value in properties.items()}
    return {**named, "CLUSTER_ID": CLUSTER_ID, "KAFKA_HEAP_OPTS": "-Xmx512m -Xms256m"}
