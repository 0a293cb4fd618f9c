"""Static members: a name of its own for each process, also where several were given the same."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from convex_messaging_fastapi.transport.kafka.consumer.instance_id import InstanceId

pytestmark = pytest.mark.usefixtures("own_locks")

_CLAIM_AND_WAIT = """
import sys
from convex_messaging_fastapi.transport.kafka.consumer.instance_id import InstanceId
instance = InstanceId("pod-1", sys.argv[1])
print(instance.claim(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claimed() -> Iterator[list[InstanceId]]:
    """What is put here is released in the end."""
    claimed: list[InstanceId] = []
    yield claimed
    for instance in claimed:
        instance.release()


def test_each_of_several_has_a_name_of_its_own(claimed: list[InstanceId], unique: str) -> None:
    claimed += [InstanceId("pod-1", unique) for _ in range(3)]
    assert [instance.claim() for instance in claimed] == ["pod-1", "pod-1-1", "pod-1-2"]
    assert [instance.claim() for instance in claimed] == ["pod-1", "pod-1-1", "pod-1-2"], "and keeps it"


def test_a_name_that_was_given_back_is_the_next_ones(claimed: list[InstanceId], unique: str) -> None:
    claimed += [InstanceId("pod-1", unique) for _ in range(3)]
    for instance in claimed[:2]:
        instance.claim()
    claimed[0].release()
    assert claimed[2].claim() == "pod-1"


def test_other_groups_and_clusters_are_no_rivals(claimed: list[InstanceId], unique: str) -> None:
    claimed += [InstanceId("pod-1", f"{unique}-{group}") for group in ("orders", "mail")]
    assert [instance.claim() for instance in claimed] == ["pod-1", "pod-1"]


def test_without_static_membership_there_is_no_name() -> None:
    assert InstanceId(None, "anything").claim() is None


def test_a_process_that_is_killed_leaves_its_name_to_whoever_is_started_in_its_stead(
    claimed: list[InstanceId], unique: str
) -> None:
    command = [sys.executable, "-c", _CLAIM_AND_WAIT, unique]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "pod-1"
        claimed.append(InstanceId("pod-1", unique))
        assert claimed[0].claim() == "pod-1-1"
        other.kill()
        other.wait(10)
    claimed.append(InstanceId("pod-1", unique))
    assert claimed[1].claim() == "pod-1"


def test_where_nothing_can_be_locked_the_id_is_used_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with caplog.at_level(logging.WARNING):
        assert InstanceId("pod-1", "orders").claim() == "pod-1"
    assert "it is not known whether another process uses group_instance_id pod-1" in caplog.text


def test_a_lock_of_somebody_else_counts_as_taken(
    claimed: list[InstanceId], monkeypatch: pytest.MonkeyPatch, unique: str
) -> None:
    refused: list[object] = []

    def locked(file: Path) -> int | None:
        if not refused:
            refused.append(file)
            raise PermissionError
        return real(file)

    from convex_messaging_fastapi.transport.kafka.consumer import instance_id

    real = instance_id._locked
    monkeypatch.setattr(instance_id, "_locked", locked)
    claimed.append(InstanceId("pod-1", unique))
    assert claimed[0].claim() == "pod-1-1"
