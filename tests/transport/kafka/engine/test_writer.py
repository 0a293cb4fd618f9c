"""What a writer remembers of the answers that the engine keeps to itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.kafka.engine import Writer

WHERE = TopicPartition("orders", 0)
NOT_ENOUGH_REPLICAS = 19


@pytest.fixture
async def writer() -> AsyncIterator[Writer]:
    writer = Writer(bootstrap_servers="localhost:1")
    yield writer
    await writer.stop(SystemClock(), SystemClock().now() + 1)


def answer(code: int, **named: Any) -> Any:
    return SimpleNamespace(topics=[("orders", [(0, code, 17)])], **named)


@pytest.mark.parametrize("throttled_ms", [2_000, 60_000])
async def test_a_quota_that_holds_us_back_is_told_for_as_long_as_it_does(
    writer: Writer, throttled_ms: int
) -> None:
    writer.client._hear(answer(0, throttle_time_ms=throttled_ms))
    assert writer.complaint(WHERE) == (
        f"a quota of the cluster holds this client back, for {throttled_ms / 1000:.1f} s more"
    )
    writer.client.throttled_until -= throttled_ms / 1000
    assert writer.complaint(WHERE) == ""


async def test_what_is_refused_for_now_is_told_before_a_quota(writer: Writer) -> None:
    writer.client._hear(answer(NOT_ENOUGH_REPLICAS, throttle_time_ms=2_000))
    assert writer.complaint(WHERE).startswith("NotEnoughReplicasError")


async def test_an_answer_older_than_quotas_is_understood(writer: Writer) -> None:
    writer.client._hear(answer(NOT_ENOUGH_REPLICAS))
    assert "min.insync.replicas" in writer.complaint(WHERE)
    writer.client._hear(answer(0))
    assert writer.complaint(WHERE) == ""
