"""Members that are frozen, killed or share a name, on a real Kafka."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Problem
from convex_messaging_fastapi.transport.kafka.consumer.instance_id import InstanceId
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tests.transport.kafka.bench import Bench
from tests.transport.kafka.member import Noted, start_member
from tools.kafka.cluster import Cluster
from tools.processes import Child

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("own_locks")]


@pytest.fixture
async def real(kafka: Cluster) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, real=True)
    yield bench
    await bench.close()


class Processes:
    def __init__(self, folder: Path, bootstrap: str, name: str) -> None:
        self._folder, self._bootstrap, self._name = folder, bootstrap, name
        self.ends = ExitStack()

    def member(self, instance: str = "") -> tuple[Child, Noted]:
        child, noted = start_member(self._folder, self._bootstrap, self._name, self._name, instance)
        self.ends.callback(child.kill)
        return child, noted


@pytest.fixture
def processes(kafka: Cluster, unique: str, tmp_path: Path) -> Iterator[Processes]:
    """Of the group and topic that have the test's name."""
    processes = Processes(tmp_path, kafka.bootstrap, unique)
    with processes.ends:
        yield processes


def ascending(first: int, end: int) -> list[bytes]:
    return [b"%d" % n for n in range(first, end)]


async def test_a_member_that_was_frozen_moves_its_group_not_back(
    real: Bench, kafka: Cluster, independent: Independent, processes: Processes, unique: str
) -> None:
    """Thawed, it finds its group empty, and an empty group takes a commit from anybody: even an old one."""
    where = TopicPartition(kafka.create_topic(unique, partitions=1), 0)
    await real.write(*ascending(0, 100), topic=unique)
    frozen, noted = processes.member()
    await eventually(lambda: noted.all("committed") and noted.all("read"), 10, "the first member's work")
    frozen.send(signal.SIGSTOP)
    await real.write(*ascending(100, 150), topic=unique)

    second = await real.reader(unique, group=unique)
    await second.until(lambda: second.positions.get(where) == 150, "the second member to read on", 20)
    assert await second.commit({where: 150}) is CommitOutcome.COMMITTED
    await second.consumer.stop(real.clock.now() + 2)

    assignments = len(noted.all("assigned"))
    frozen.send(signal.SIGCONT)
    seen = []

    async def watch() -> None:
        is_over = False
        while not is_over:  # it may be over before the first look
            is_over = len(noted.all("assigned")) > assignments
            seen.append((await asyncio.to_thread(independent.committed, unique, unique))[0].offset)

    await asyncio.wait_for(watch(), 20)
    assert set(seen) == {150}
    assert noted.all("assigned")[-1]["starts"] == {"0": 150}
    late = [each["outcome"] for each in noted.all("committed") if each["offsets"] == {"0": 100}]
    assert late[-1] == "stale"


async def test_a_static_member_that_is_killed_and_restarted_at_once_stops_nobody(
    real: Bench, kafka: Cluster, processes: Processes, unique: str
) -> None:
    kafka.create_topic(unique, partitions=2)
    survivor = await real.reader(unique, group=unique, group_instance_id="pod-2")
    await survivor.until(lambda: survivor.listener.held, "all partitions")
    killed, noted = processes.member("pod-1")
    await survivor.until(
        lambda: noted.all("assigned") and len(survivor.listener.held) == 1, "a partition each"
    )
    assignments, began = len(survivor.listener.assignments), real.clock.now()

    killed.kill()
    _, noted = processes.member("pod-1")
    await survivor.until(lambda: noted.all("assigned"), "the restarted one's partition")
    took = real.clock.now() - began
    ((theirs),) = noted.all("assigned")[-1]["starts"]
    await real.write(b"for the survivor", topic=unique, partition=1 - int(theirs))
    await survivor.read(1)
    await survivor.until(lambda: real.clock.now() > began + took + 1.5, "a heartbeat and more")

    assert took < 5, "its session is six seconds"
    assert len(survivor.listener.assignments) == assignments
    assert noted.all("assigned")[-1]["starts"].keys() == {theirs}


async def test_processes_on_two_machines_that_share_a_name_are_told(
    real: Bench, kafka: Cluster, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They put each other out of the group at every heartbeat, and the engine finds nothing wrong with it."""
    monkeypatch.setattr(InstanceId, "claim", lambda instance: instance.id)
    kafka.create_topic(unique, partitions=1)
    readers = [await real.reader(unique, group=unique, group_instance_id="same")]
    await readers[0].until(lambda: readers[0].listener.held, "an assignment")
    readers += [await real.reader(unique, group=unique, group_instance_id="same")]

    def refused() -> list[str]:
        contacts = [reader.consumer.contact() for reader in readers]
        return [c.detail for c in contacts if c.problem is Problem.GROUP_REFUSED]

    others = asyncio.ensure_future(readers[0].until(refused, "a word of it", 20))
    await readers[1].until(refused, "a word of it", 20)
    await others
    assert "another process is a member with our group_instance_id" in refused()[0]
