"""Transports on the wire bench, impatient enough for tests."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.transport.kafka.engine.patches import patch_engine
from tests.support.wire import WireCluster, wire_cluster
from tests.transport.kafka.bench import Bench

# For tests of single rooms: whoever makes a transport has it done.
patch_engine(SystemClock())

WORDS = ("never retrieved", "Unclosed", "Exception in callback")


@pytest.fixture
def wire() -> Iterator[WireCluster]:
    """One broker with the topic `orders` of two partitions."""
    with wire_cluster() as cluster:
        cluster.topic("orders", partitions=2)
        yield cluster


@pytest.fixture
async def bench(wire: WireCluster) -> AsyncIterator[Bench]:
    bench = Bench(wire.bootstrap_servers)
    yield bench
    await bench.close()


@pytest.fixture
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of static members, of child processes too, go with the test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture(autouse=True)
def _nothing_left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What was left unclosed, and errors that nobody looked at, come out here, in the test that left them."""
    gc.freeze()  # what there was before need not be gone through: amid thousands of tests that costs a second
    yield
    gc.collect()
    said = [record.getMessage() for record in caplog.get_records("call") + caplog.get_records("teardown")]
    assert [line for line in said if any(word in line for word in WORDS)] == []
