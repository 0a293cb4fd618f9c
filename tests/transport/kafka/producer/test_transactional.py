"""Transactions where something is in the way; what they promise is in `tests/promises`."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted, TransactionalProducer
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import Bench, records

ORDERS = TopicPartition("orders", 0)

NOT_LEADER = 6
TOO_LARGE = 10
COORDINATOR_LOADING, NOT_COORDINATOR = 14, 16
TOPIC_FORBIDDEN = 29
INVALID_EPOCH, WRONG_STATE = 47, 48
CONCURRENT = 51
ID_FORBIDDEN = 53
FENCED = 90


async def one(owner: TransactionalProducer) -> None:
    """Claim, and one transaction."""
    await owner.claim()
    await owner.write({ORDERS: records(b"one")})
    await owner.commit()


async def failure(owner: TransactionalProducer) -> NotCommitted:
    with pytest.raises(NotCommitted) as failed:
        await one(owner)
    await owner.stop(asyncio.get_running_loop().time() + 1)
    return failed.value


@pytest.mark.parametrize(
    ("api", "codes"),
    [
        (Api.INIT_PRODUCER_ID, (NOT_COORDINATOR, CONCURRENT, COORDINATOR_LOADING)),
        (Api.ADD_PARTITIONS_TO_TXN, (CONCURRENT, NOT_COORDINATOR)),
        (Api.PRODUCE, (NOT_LEADER,)),
        (Api.END_TXN, (NOT_COORDINATOR, CONCURRENT)),
        (Api.FIND_COORDINATOR, (15,)),
    ],
    ids=lambda value: value.name if isinstance(value, Api) else None,
)
async def test_what_passes_is_tried_again(
    bench: Bench, wire: WireCluster, api: Api, codes: tuple[int, ...]
) -> None:
    wire.push_errors(api, *codes)
    owner = bench.transport().transactional("dlq/billing", 10)
    await one(owner)
    await owner.stop(bench.clock.now() + 1)


@pytest.mark.parametrize(
    ("api", "code", "fate", "said"),
    [
        (Api.INIT_PRODUCER_ID, ID_FORBIDDEN, Fate.REFUSED, "lack WRITE on transactional id dlq/billing"),
        (Api.FIND_COORDINATOR, ID_FORBIDDEN, Fate.REFUSED, "lack WRITE on transactional id dlq/billing"),
        (Api.INIT_PRODUCER_ID, 50, Fate.REFUSED, "timeout is larger"),
        (Api.ADD_PARTITIONS_TO_TXN, TOPIC_FORBIDDEN, Fate.REFUSED, "lack WRITE on topic orders"),
        (Api.ADD_PARTITIONS_TO_TXN, INVALID_EPOCH, Fate.FENCED, ""),
        (Api.ADD_PARTITIONS_TO_TXN, FENCED, Fate.FENCED, "claimed the transactional id"),
        (Api.PRODUCE, TOPIC_FORBIDDEN, Fate.REFUSED, "lack WRITE on topic orders"),
        (Api.PRODUCE, INVALID_EPOCH, Fate.FENCED, ""),
        (Api.PRODUCE, TOO_LARGE, Fate.TOO_LARGE, ""),
        (Api.PRODUCE, WRONG_STATE, Fate.FAILED, "InvalidTxnState"),
        (Api.END_TXN, INVALID_EPOCH, Fate.FENCED, ""),
        (Api.END_TXN, WRONG_STATE, Fate.FAILED, "InvalidTxnState"),
    ],
)
async def test_what_a_broker_says_is_told_apart(
    bench: Bench, wire: WireCluster, api: Api, code: int, fate: Fate, said: str
) -> None:
    wire.push_errors(api, code)
    told = await failure(bench.transport().transactional("dlq/billing", 10))
    assert (told.fate, said in told.reason) == (fate, True), told.reason


async def test_a_commit_without_an_answer_may_have_been_done(bench: Bench, wire: WireCluster) -> None:
    owner = bench.transport(request_timeout_ms=1000).transactional("dlq/billing", 10)
    await owner.claim()
    await owner.write({ORDERS: records(b"one")})
    wire.down()
    with pytest.raises(NotCommitted) as failed:
        await owner.commit()
    assert failed.value.fate is Fate.UNKNOWN
    await owner.stop(bench.clock.now() + 1)


async def test_whatever_is_said_after_a_commit_went_unanswered_is_not_believed(
    bench: Bench, wire: WireCluster
) -> None:
    """The first may have been done before another claimed the id."""
    owner = bench.transport(request_timeout_ms=1000).transactional("dlq/billing", 10)
    await owner.claim()
    await owner.write({ORDERS: records(b"one")})
    wire.round_trip(1500)
    committing = asyncio.ensure_future(owner.commit())
    while not committing.done() and Api.END_TXN not in wire.requests():
        await asyncio.wait([committing], timeout=0.05)
    wire.push_errors(Api.END_TXN, INVALID_EPOCH)
    wire.round_trip(0)
    with pytest.raises(NotCommitted) as failed:
        await committing
    assert failed.value.fate is Fate.UNKNOWN
    await owner.stop(bench.clock.now() + 1)


async def test_no_broker_is_a_reason(bench: Bench, wire: WireCluster) -> None:
    wire.down()
    told = await failure(bench.transport().transactional("dlq/billing", 10))
    assert (told.fate, "connection refused" in told.reason) == (Fate.FAILED, True)


async def test_an_end_comes_although_no_broker_answers(bench: Bench, wire: WireCluster) -> None:
    owner = bench.transport().transactional("dlq/billing", 10)
    await owner.claim()
    await owner.write({ORDERS: records(b"one")})
    wire.down()
    async with asyncio.timeout(5):
        await owner.stop(bench.clock.now() + 1)
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert tasks == []
