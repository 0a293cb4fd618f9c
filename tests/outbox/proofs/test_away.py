"""Whatever is away for a while: nothing is lost, and each key keeps its order."""

from __future__ import annotations

import asyncio

import pytest

from tests.outbox.proofs.harness import Proof
from tests.support.databases import Database
from tools.kafka.cluster import Cluster

LONG = pytest.mark.long


@pytest.mark.faults
@pytest.mark.parametrize("messages", [4_000, pytest.param(40_000, marks=LONG)])
async def test_a_database_that_is_restarted_under_load_loses_nothing(
    proof: Proof, postgres: Database, messages: int
) -> None:
    await proof.make_topic()
    proof.relay()
    proof.relay()
    writers = proof.writers(messages)
    await asyncio.sleep(4)  # simulates work: of all, until the database stops
    await asyncio.to_thread(postgres.server.stop)
    await asyncio.to_thread(postgres.server.start)
    assert await asyncio.to_thread(writers.wait, 300) == 0
    await proof.drained(60)
    verdict = await proof.verdict()
    assert (verdict.lost, verdict.out_of_order) == (0, 0)


@pytest.mark.faults
@pytest.mark.parametrize("seconds", [9, pytest.param(40, marks=LONG)])
async def test_while_kafka_is_away_messages_wait_and_none_is_lost(
    proof: Proof, kafka: Cluster, seconds: float
) -> None:
    await proof.make_topic()
    proof.relay()
    proof.relay()
    writers = proof.writers(4_000)
    await asyncio.sleep(4)  # simulates work: of all, until the broker dies
    await asyncio.to_thread(kafka.brokers[0].kill)
    await asyncio.sleep(seconds)  # simulates work: of the writers, who go on
    await asyncio.to_thread(kafka.brokers[0].start)
    assert await asyncio.to_thread(writers.wait, 300) == 0
    await proof.drained(60)
    verdict = await proof.verdict()
    assert (verdict.lost, verdict.out_of_order) == (0, 0)


@pytest.mark.faults
async def test_a_topic_that_comes_after_its_relay_was_killed_gets_all_in_order(proof: Proof) -> None:
    relay = proof.relay()
    writers = proof.writers(1_000)
    assert await asyncio.to_thread(writers.wait, 300) == 0
    await proof.held(60)
    await asyncio.to_thread(relay.kill)
    proof.relay()
    await proof.make_topic()
    await proof.drained(90)
    verdict = await proof.verdict()
    assert (verdict.lost, verdict.repeats, verdict.out_of_order) == (0, 0, 0)
