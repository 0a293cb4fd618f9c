"""The bench itself: brokers die, freeze and come back, and nothing of them stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Unavailable
from tests.support.independent import Independent
from tests.support.processes import Child
from tests.support.waiting import eventually, until


def test_what_the_witness_writes_it_reads_back_in_order(
    kafka: Cluster, independent: Independent, unique: str
) -> None:
    kafka.create_topic(unique, partitions=2)
    landed = independent.write(unique, [b"a", b"b", None], key="k", headers=[("h", b"v"), ("n", None)])
    seen = independent.read(unique)
    assert [(s.partition, s.offset) for s in seen] == landed
    assert [(s.key, s.value) for s in seen] == [(b"k", b"a"), (b"k", b"b"), (b"k", None)]
    assert seen[0].headers == (("h", b"v"), ("n", None))
    assert sum(independent.ends(unique).values()) == independent.lag("nobody", unique) == 3
    assert independent.committed("nobody", unique) == {}


def test_a_broker_that_was_killed_comes_back_with_its_data(kafka_cluster: Cluster, unique: str) -> None:
    if not kafka_cluster.brokers:
        pytest.skip("a named cluster has no brokers that a test may kill")
    witness = Independent(kafka_cluster.bootstrap)
    kafka_cluster.create_topic(unique, partitions=1)
    witness.write(unique, [b"before"])
    dead = kafka_cluster.leader(unique)
    dead.kill()
    assert not dead.alive
    witness.write(unique, [b"meanwhile"])
    assert kafka_cluster.leader(unique).id != dead.id
    kafka_cluster.heal()
    assert dead.alive
    assert kafka_cluster.untouched
    assert [s.value for s in witness.read(unique)] == [b"before", b"meanwhile"]


def test_a_broker_that_was_frozen_or_ended_is_healed(kafka_cluster: Cluster, unique: str) -> None:
    if not kafka_cluster.brokers:
        pytest.skip("a named cluster has no brokers that a test may kill")
    witness = Independent(kafka_cluster.bootstrap)
    kafka_cluster.create_topic(unique, partitions=1)
    frozen, ended, *_ = kafka_cluster.brokers
    frozen.pause()
    assert frozen.alive
    frozen.resume()
    ended.terminate()
    assert not ended.alive
    witness.write(unique, [b"two of three are enough"])
    kafka_cluster.heal()
    assert [s.value for s in witness.read(unique)] == [b"two of three are enough"]


def test_children_die_with_a_session_that_is_killed(tmp_path: Path) -> None:
    session = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from tests.support.processes import Child, remove_at_end
        folder = Path(sys.argv[1])
        (folder / "data").mkdir()
        remove_at_end(folder / "data")
        child = Child(["sleep", "600"], folder / "log")
        (folder / "pid").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    ended = subprocess.run([sys.executable, "-c", session, str(tmp_path)], check=False, timeout=30)
    assert ended.returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not _runs(pid), 10, "the watchdog to kill what its session left")
    until(lambda: not (tmp_path / "data").exists(), 10, "the watchdog to remove its data")


def test_a_child_tells_how_it_ended(tmp_path: Path) -> None:
    child = Child(["sh", "-c", "echo hello; exit 3"], tmp_path / "log")
    assert child.wait(10) == 3
    assert child.tail() == "hello"
    other = Child(["sleep", "600"], tmp_path / "log")
    assert other.terminate(10) == -signal.SIGTERM


async def test_waiting_says_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match="for godot"):
        until(lambda: False, 0.05, "godot")
    with pytest.raises(TimeoutError, match="for godot"):
        await eventually(lambda: False, 0.05, "godot")


def test_a_machine_without_java_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import jars

    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(Unavailable, match="install Java 17"):
        jars.java()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    # a killed orphan may stay as a zombie where nothing reaps it
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
