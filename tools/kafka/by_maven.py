"""A Kafka cluster of plain processes in KRaft mode, from the jars that Apache publishes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tools.kafka.cluster import Cluster, Unavailable
from tools.kafka.common import CLUSTER_ID, HOST, free_ports, is_free, shared_properties
from tools.kafka.jars import KAFKA_VERSION, classpath, java
from tools.processes import Child, remove_at_end

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


@dataclass(frozen=True, slots=True)
class Extras:
    """What a test wants beyond the usual: properties that go over ours, and options for the formatter.

    `each` are those of single brokers, by their ids.
    """

    properties: Mapping[str, str] = field(default_factory=dict)
    format_options: tuple[str, ...] = ()
    each: Mapping[int, Mapping[str, str]] = field(default_factory=dict)


def start(size: int, ends: ExitStack, ports: Sequence[int] = (), extras: Extras | None = None) -> Cluster:
    """A started cluster, not yet ready; `ends` kills it and removes its data.

    `ports` are the brokers' own, free ones when there are none. Raises `Unavailable` without a
    Java or the jars, or when a port is taken.
    """
    run = [java(), *JAVA_FLAGS, "-cp", classpath()]
    if taken := [port for port in ports if not is_free(port)]:
        raise Unavailable(f"something listens on port {taken[0]} already: end it first")
    extras = extras or Extras()
    folder = _scratch(ends)
    written = _write_properties(folder, size, ports, extras)
    _format(list(written.values()), run, extras.format_options)
    brokers = [
        ProcessBroker(id, address, folder, [*run, "kafka.Kafka", str(file)])
        for id, (address, file) in enumerate(written.items(), 1)
    ]
    for broker in brokers:
        broker.start()
        ends.callback(broker.kill)  # nobody needs the data, so nobody waits for a clean end
    return Cluster(",".join(written), f"Apache Kafka {KAFKA_VERSION} by Maven", size, brokers)


def _scratch(ends: ExitStack) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kafka-"))
    remove_at_end(folder)
    ends.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _write_properties(folder: Path, size: int, ports: Sequence[int], extras: Extras) -> dict[str, Path]:
    """Each broker's address, and the file of its properties."""
    free = free_ports()
    ports = ports or [next(free) for _ in range(size)]
    voters = [(id, next(free)) for id in range(1, size + 1)]
    written = {}
    for (id, controller), port in zip(voters, ports, strict=True):
        over = {**extras.properties, **extras.each.get(id, {})}
        ours = _properties(id, port, controller, voters, folder / f"data-{id}") | over
        file = written[f"{HOST}:{port}"] = folder / f"broker-{id}.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in ours.items()))
    return written


def _format(written: Sequence[Path], run: Sequence[str], options: Sequence[str]) -> None:
    tool = [*run, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, *options]
    formats = [
        subprocess.Popen(
            [*tool, "-c", str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for file in written
    ]
    for process in formats:
        said, _ = process.communicate(timeout=180)  # a second, but on a machine that is busy
        if process.returncode:
            raise RuntimeError(f"Kafka's storage could not be formatted:\n{said}")


def _properties(
    id: int, port: int, controller: int, voters: Sequence[tuple[int, int]], data: Path
) -> dict[str, str]:
    size = len(voters)
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
        **shared_properties(size),
    }
