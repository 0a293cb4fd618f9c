"""A Kafka cluster of plain processes in KRaft mode, from the jars that Apache publishes."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.cluster import DEFAULT_PARTITIONS, Broker, Cluster
from tests.support.jars import KAFKA_VERSION, classpath, java
from tests.support.processes import Child, remove_at_end

HOST = "127.0.0.1"
CLUSTER_ID = urlsafe_b64encode(b"convex-messaging").decode().rstrip("=")  # Kafka wants sixteen bytes
JAVA_FLAGS = ("-Xmx512m", "-Xms256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN")


class ProcessBroker:
    """One broker as a Java process of ours."""

    def __init__(self, id: int, address: str, folder: Path, command: Sequence[str]) -> None:
        self.id = id
        self.address = address
        self.touched = False
        self._log = folder / f"broker-{id}.log"
        self._command = command
        self._child: Child | None = None

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.alive else None

    def start(self) -> None:
        if not self.alive:
            self._child = Child(self._command, self._log)

    def kill(self) -> None:
        self.touched = True
        if self._child is not None:
            self._child.kill()

    def terminate(self) -> None:
        self.touched = True
        if self._child is not None:
            self._child.terminate(30)

    def pause(self) -> None:
        self.touched = True
        if self._child is not None:
            self._child.send(signal.SIGSTOP)

    def resume(self) -> None:
        if self._child is not None:
            self._child.send(signal.SIGCONT)

    def tail(self) -> str:
        return self._child.tail() if self._child is not None else "never started"


def start(
    size: int,
    ports: Sequence[int] = (),
    properties: Mapping[str, str] | None = None,
    format_options: Sequence[str] = (),
) -> tuple[Cluster, Path]:
    """A started cluster, not yet ready, and the folder that holds its data and logs.

    `ports` are the brokers' own, free ones when there are none; `properties` go over ours.
    Raises `Unavailable` without a Java or the jars.
    """
    run = [java(), *JAVA_FLAGS, "-cp", classpath()]
    folder = Path(tempfile.mkdtemp(prefix="kafka-"))
    remove_at_end(folder)
    free = _free_ports()
    ports = ports or [next(free) for _ in range(size)]
    voters = [(id, next(free)) for id in range(1, size + 1)]
    brokers = []
    for (id, controller), port in zip(voters, ports, strict=True):
        ours = _properties(id, port, controller, voters, folder / f"data-{id}") | dict(properties or {})
        written = folder / f"broker-{id}.properties"
        written.write_text("".join(f"{name}={value}\n" for name, value in ours.items()))
        brokers.append(ProcessBroker(id, f"{HOST}:{port}", folder, [*run, "kafka.Kafka", str(written)]))
    _format([folder / f"broker-{broker.id}.properties" for broker in brokers], run, format_options)
    for broker in brokers:
        broker.start()
    bootstrap = ",".join(broker.address for broker in brokers)
    return Cluster(bootstrap, f"Apache Kafka {KAFKA_VERSION} by Maven", size, brokers), folder


def stop(brokers: Sequence[Broker], folder: Path) -> None:
    """The end of a cluster and its data. Nobody needs the data, so nobody waits for a clean end."""
    for broker in brokers:
        broker.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _format(written: Sequence[Path], run: Sequence[str], options: Sequence[str]) -> None:
    tool = [*run, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, *options]
    formats = [
        subprocess.Popen(
            [*tool, "-c", str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for file in written
    ]
    for process in formats:
        said, _ = process.communicate(timeout=60)
        if process.returncode:
            raise RuntimeError(f"Kafka's storage could not be formatted:\n{said}")


def _properties(
    id: int, port: int, controller: int, voters: Sequence[tuple[int, int]], data: Path
) -> dict[str, str]:
    size = len(voters)
    in_sync = max(1, size - 1)
    return {
        "process.roles": "broker,controller",
        "node.id": str(id),
        "controller.quorum.voters": ",".join(f"{voter}@{HOST}:{at}" for voter, at in voters),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        **shared_properties(size, in_sync),
    }


def shared_properties(size: int, in_sync: int) -> dict[str, str]:
    """What every cluster of ours is set to, wherever it runs."""
    return {
        "num.partitions": str(DEFAULT_PARTITIONS),
        "default.replication.factor": str(size),
        "min.insync.replicas": str(in_sync),
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": str(size),
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": str(size),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": str(size),
        "share.coordinator.state.topic.min.isr": str(in_sync),
        "group.initial.rebalance.delay.ms": "0",
        # a killed broker is missed after this, and may come back under its old name after this
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "500",
        "log.cleaner.dedupe.buffer.size": "8388608",
    }


def _free_ports() -> Iterator[int]:
    """Ports nobody has, below those that the kernel gives to outgoing connections.

    A client that calls a dead broker on such a port may be connected to itself, and keeps the
    broker from coming back.
    """
    for port in random.sample(range(20000, 32000), 200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        yield port
