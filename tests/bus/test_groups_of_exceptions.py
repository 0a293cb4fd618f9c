"""What task groups wrap is judged by what went wrong inside, wherever in a handler it was raised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException

from convex_messaging_fastapi import (
    AttemptTimedOut,
    Batch,
    BatchFailed,
    DeadLetterMessage,
    Discard,
    Reject,
    Retry,
    RetryAfter,
)
from tests.bus.support import memory_bus

THRICE = Retry(attempts=3, delay_seconds=5, jitter=0)
Raiser = Callable[[], Awaitable[None]]


class Gone(Exception):
    """What a user's own code raises."""


async def together(*errors: BaseException, deep: bool = False) -> None:
    """Raise these from tasks of one group, so that each is a leaf of what comes out."""
    begun = asyncio.Barrier(len(errors))

    async def fail(error: BaseException) -> None:
        try:
            await begun.wait()
        finally:
            if deep:
                async with asyncio.TaskGroup() as inner:
                    inner.create_task(just(error))
            raise error

    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fail(error))


async def just(error: BaseException) -> None:
    raise error


async def handled_with(
    handler: Callable[..., Any], retry: Retry = THRICE, **choices: Any
) -> tuple[int, list[DeadLetterMessage], float]:
    """Attempts that failed, letters, and how much time it took by the bench's clock."""
    bus = memory_bus()
    bus.subscriber("bet.placed", retry=retry, **choices)(handler)
    async with bus.test(FastAPI()) as t:
        began = t.clock.now()
        await bus.publish("bet.placed", {"n": 1})
        await t.settle()
        [status] = bus.status().workers[0].subscriptions
        return status.failed_attempts, t.dead_letters(), t.clock.now() - began


CASES: list[tuple[tuple[BaseException, ...], Retry, int, bool]] = [
    ((Reject("a"),), THRICE, 1, True),
    ((Reject("a"), Reject("b")), THRICE, 1, True),
    ((Discard("a"), Discard("b")), THRICE, 1, False),
    ((RetryAfter(1), RetryAfter(9)), THRICE, 3, True),
    ((ValueError("a"),), THRICE, 3, True),
    ((ValueError("a"), Gone("b")), THRICE, 3, True),
    ((ValueError("a"), Gone("b")), Retry(attempts=3, delay_seconds=5, never=(Gone,)), 1, True),
    ((ValueError("a"), Gone("b")), Retry(attempts=3, delay_seconds=5, only=(Gone,)), 1, True),
    ((Gone("a"), Gone("b")), Retry(attempts=3, delay_seconds=5, only=(Gone,)), 3, True),
    ((ValueError("a"), Reject("b")), THRICE, 3, True),
    ((ValueError("a"), Discard("b")), THRICE, 3, True),
    ((HTTPException(404), HTTPException(404)), THRICE, 3, True),
    ((HTTPException(404),), Retry(attempts=3, delay_seconds=5, never=(HTTPException,)), 1, True),
    ((BatchFailed(0), BatchFailed(0)), THRICE, 3, True),
]
EVERY_CASE = pytest.mark.parametrize(("errors", "retry", "attempts", "is_buried"), CASES)


def summary(got: tuple[int, list[DeadLetterMessage], float]) -> tuple[int, bool]:
    return got[0], bool(got[1])


@EVERY_CASE
@pytest.mark.parametrize("deep", [False, True])
async def test_a_task_group_in_a_handler(
    errors: tuple[BaseException, ...], retry: Retry, attempts: int, is_buried: bool, deep: bool
) -> None:
    async def handle(message: dict[str, Any]) -> None:
        await together(*errors, deep=deep)

    assert summary(await handled_with(handle, retry)) == (attempts, is_buried)
    assert summary(await handled_with(handle, retry, timeout=60)) == (attempts, is_buried)


@EVERY_CASE
async def test_a_task_group_in_a_dependency_before_and_after_its_yield(
    errors: tuple[BaseException, ...], retry: Retry, attempts: int, is_buried: bool
) -> None:
    async def before() -> AsyncIterator[int]:
        await together(*errors)
        yield 1

    async def after() -> AsyncIterator[int]:
        yield 1
        await together(*errors)

    async def uses_before(message: dict[str, Any], one: Annotated[int, Depends(before)]) -> None: ...

    async def uses_after(message: dict[str, Any], one: Annotated[int, Depends(after)]) -> None: ...

    for handler in (uses_before, uses_after):
        assert summary(await handled_with(handler, retry)) == (attempts, is_buried)


@EVERY_CASE
async def test_a_group_that_a_sync_handler_raises(
    errors: tuple[BaseException, ...], retry: Retry, attempts: int, is_buried: bool
) -> None:
    def handle(message: dict[str, Any]) -> None:
        raise BaseExceptionGroup("several", errors)

    assert summary(await handled_with(handle, retry)) == (attempts, is_buried)


@EVERY_CASE
async def test_a_group_in_a_batch(
    errors: tuple[BaseException, ...], retry: Retry, attempts: int, is_buried: bool
) -> None:
    async def handle(messages: list[dict[str, Any]]) -> None:
        await together(*errors)

    assert summary(await handled_with(handle, retry, batch=Batch(1))) == (attempts, is_buried)


async def test_of_several_that_ask_for_another_time_the_longest_counts() -> None:
    async def handle(message: dict[str, Any]) -> None:
        await together(RetryAfter(10), RetryAfter(100), RetryAfter(20))

    attempts, _, took = await handled_with(handle)
    assert (attempts, round(took)) == (3, 200)


async def test_batch_failed_says_what_is_done_only_alone() -> None:
    got: list[list[int]] = []
    errors: list[BaseException] = []
    cases: list[tuple[list[BaseException], list[int]]] = [
        ([BatchFailed(1)], [2]),
        ([BatchFailed(1), BatchFailed(1)], [1, 2]),
        ([BatchFailed(1), ValueError("a")], [1, 2]),
    ]

    async def handle(messages: list[int]) -> None:
        got.append(messages)
        if len(got) == 1:
            await together(*errors)

    for errors, again in cases:  # noqa: B007 - the handler reads it
        got.clear()
        bus = memory_bus()
        bus.subscriber("bet.placed", retry=THRICE, batch=Batch(2))(handle)
        async with bus.test() as t:
            await bus.publish_many("bet.placed", [1, 2], key="same")
            await t.settle()
        assert got == [[1, 2], again]


async def test_a_handler_that_is_too_slow_inside_a_task_group_has_timed_out() -> None:
    async def handle(message: dict[str, Any]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait())

    bus = memory_bus()
    bus.subscriber("bet.placed", retry=Retry(attempts=1), timeout=5)(handle)
    async with bus.test() as t:
        await bus.publish("bet.placed", {"n": 1})
        await t.advance(6)
        [letter] = t.dead_letters()
    assert letter.exception_type == f"{AttemptTimedOut.__module__}.AttemptTimedOut"


@pytest.mark.parametrize(("retry", "attempts"), [(THRICE, 3), (Retry(never=(HTTPException,)), 1)])
async def test_an_http_exception_is_an_error_like_any_other(retry: Retry, attempts: int) -> None:
    async def find_user() -> str:
        raise HTTPException(404, "no such user")

    async def handle(message: dict[str, Any], user: Annotated[str, Depends(find_user)]) -> None: ...

    failed, [letter], _ = await handled_with(handle, retry)
    assert (failed, letter.error_message) == (attempts, "404: no such user")
