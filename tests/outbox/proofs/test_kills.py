"""Whatever becomes of relays, no message is lost, and those of a key arrive for the first time in order."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.outbox.proofs.harness import Proof, judged

LONG = pytest.mark.long


def test_the_witness_sees_what_is_lost_repeated_and_out_of_order() -> None:
    verdict = judged({"a": 4, "b": 1}, {"a": [1, 3, 2, 3]})
    assert (verdict.arrived, verdict.lost, verdict.repeats, verdict.out_of_order) == (4, 2, 1, 1)


@pytest.mark.faults
@pytest.mark.parametrize("messages", [3_000, pytest.param(60_000, marks=LONG)])
async def test_two_relays_lose_repeat_and_reorder_nothing(proof: Proof, messages: int) -> None:
    await proof.make_topic()
    proof.relay()
    proof.relay()
    writers = proof.writers(messages)
    assert await asyncio.to_thread(writers.wait, 600) == 0
    await proof.drained(60)
    verdict = await proof.verdict()
    assert verdict.arrived > messages * 0.9
    assert (verdict.lost, verdict.repeats, verdict.out_of_order) == (0, 0, 0)


@pytest.mark.faults
@pytest.mark.parametrize(("messages", "kills"), [(6_000, 3), pytest.param(60_000, 20, marks=LONG)])
async def test_relays_that_are_killed_lose_nothing(proof: Proof, messages: int, kills: int) -> None:
    await proof.make_topic()
    relays = [proof.relay(), proof.relay()]
    writers = proof.writers(messages)
    for number in range(kills):
        await asyncio.sleep(2)  # simulates work: of a relay until it is killed
        await asyncio.to_thread(relays[number % 2].kill)
        relays[number % 2] = proof.relay()
    assert await asyncio.to_thread(writers.wait, 600) == 0
    await proof.drained(60)
    verdict = await proof.verdict()
    assert (verdict.lost, verdict.out_of_order) == (0, 0)
    assert verdict.repeats <= kills * proof.batch


@pytest.mark.faults
@pytest.mark.parametrize(("messages", "freezes"), [(6_000, 1), pytest.param(60_000, 6, marks=LONG)])
async def test_relays_that_are_frozen_past_their_lease_lose_nothing(
    proof: Proof, messages: int, freezes: int
) -> None:
    await proof.make_topic()
    relays = [proof.relay(), proof.relay()]
    writers = proof.writers(messages)
    for number in range(freezes):
        await asyncio.sleep(2)  # simulates work: of a relay until it is frozen
        relays[number % 2].send(signal.SIGSTOP)
        await asyncio.sleep(proof.lease * 1.5)  # simulates work: of the other one
        relays[number % 2].send(signal.SIGCONT)
    assert await asyncio.to_thread(writers.wait, 600) == 0
    await proof.drained(60)
    verdict = await proof.verdict()
    assert (verdict.lost, verdict.out_of_order) == (0, 0)
    assert verdict.repeats <= freezes * proof.batch
