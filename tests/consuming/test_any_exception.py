"""Whatever a message makes its handler raise, wherever, is that message's failure and nobody else's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends
from pydantic import AfterValidator

from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.holds import Holds
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.policies import Batch, Retry
from convex_messaging_fastapi.records import Lease, Record
from tests.consuming.support import WHERE, Bench


class PanicException(BaseException):
    """As libraries in Rust raise it."""


class Unspeakable(Exception):
    """One whose text cannot be read."""

    def __str__(self) -> str:
        raise PanicException("no text")


RAISED: list[BaseException] = [
    ValueError("wrong"),
    PanicException("range end index 5 out of range"),
    SystemExit(3),
    GeneratorExit("left over"),
    StopIteration("left over"),
    StopAsyncIteration("left over"),
    asyncio.CancelledError("by hand"),
    ExceptionGroup("several", [ValueError("wrong"), KeyError("missing")]),
    BaseExceptionGroup("several", [PanicException("one"), ValueError("two")]),
    BaseExceptionGroup("several", [asyncio.CancelledError("by hand"), SystemExit(1)]),
    Unspeakable("wrong"),
]


class Raises:
    """Raises for message 1 and is quiet for all others."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, number: int) -> None:
        if number == 1:
            raise self.error


def in_async_handler(raises: Raises) -> Callable[..., Any]:
    async def handle(message: int) -> None:
        raises(message)

    return handle


def in_sync_handler(raises: Raises) -> Callable[..., Any]:
    def handle(message: int) -> None:
        raises(message)

    return handle


def in_dependency(raises: Raises) -> Callable[..., Any]:
    seen: list[int] = []

    def depend() -> None:
        raises(seen.pop())

    def mark(message: int) -> int:
        seen.append(message)
        return message

    async def handle(
        message: Annotated[int, AfterValidator(mark)], _: Annotated[None, Depends(depend)]
    ) -> None: ...

    return handle


def in_async_teardown(raises: Raises) -> Callable[..., Any]:
    seen: list[int] = []

    async def depend() -> AsyncIterator[None]:
        yield
        raises(seen.pop())

    async def handle(message: int, _: Annotated[None, Depends(depend)]) -> None:
        seen.append(message)

    return handle


def in_sync_teardown(raises: Raises) -> Callable[..., Any]:
    seen: list[int] = []

    def depend() -> Iterator[None]:
        yield
        raises(seen.pop())

    async def handle(message: int, _: Annotated[None, Depends(depend)]) -> None:
        seen.append(message)

    return handle


def through_a_dependency(raises: Raises) -> Callable[..., Any]:
    async def depend() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)

    async def handle(message: int, _: Annotated[None, Depends(depend)]) -> None:
        raises(message)

    return handle


def in_validator(raises: Raises) -> Callable[..., Any]:
    def check(message: int) -> int:
        raises(message)
        return message

    async def handle(message: Annotated[int, AfterValidator(check)]) -> None: ...

    return handle


def in_batch_handler(raises: Raises) -> Callable[..., Any]:
    async def handle(messages: list[int]) -> None:
        for message in messages:
            raises(message)

    return handle


def in_batch_validator(raises: Raises) -> Callable[..., Any]:
    def check(message: int) -> int:
        raises(message)
        return message

    async def handle(messages: list[Annotated[int, AfterValidator(check)]]) -> None: ...

    return handle


PLACES = [
    in_async_handler,
    in_sync_handler,
    in_dependency,
    in_async_teardown,
    in_sync_teardown,
    through_a_dependency,
    in_validator,
    in_batch_handler,
    in_batch_validator,
]


def name_of(error: BaseException) -> str:
    held = "+".join(type(each).__name__ for each in getattr(error, "exceptions", ()))
    return f"{type(error).__name__} {held}".strip()


@pytest.mark.parametrize("timeout", [None, 5.0], ids=["untimed", "timed"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("error", RAISED, ids=name_of)
async def test_one_message_ends_no_process_and_holds_up_no_other(
    error: BaseException, place: Callable[[Raises], Callable[..., Any]], timeout: float | None
) -> None:
    batch = Batch(max_records=3, max_wait_seconds=0.1) if "batch" in place.__name__ else None
    handler = place(Raises(error))
    retry = Retry(attempts=2, delay_seconds=1, jitter=0)
    async with Bench(handler, batch=batch, timeout=timeout, retry=retry, commit_interval=1) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2, key=b"k")
        await settled(bench)

        [(record, failure)] = bench.graveyard.buried
        assert record.offset == 1
        assert 1 <= failure.attempts <= 3, "twice, and members of a batch once more, alone"
        assert bench.worker.alive
        await bench.advance(1.1)
        assert bench.transport.committed == {WHERE: 3}


async def settled(bench: Bench) -> None:
    """Until nothing is at work, also in threads, or waits."""
    for _ in range(200):
        await bench.advance(0.1)
        status = bench.subscription.status()
        if bench.graveyard.buried and not status.running and not status.waiting:
            return
        while calls := [call.settled for thread in bench.threads._threads for call in thread._calls]:
            await asyncio.wait(calls)


async def test_a_keyboard_interrupt_is_no_failure_of_the_message() -> None:
    bench = Bench(in_async_handler(Raises(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        await bench.subscription._dispatch.handle(jobs(1))
    with_others = BaseExceptionGroup("several", [ValueError("wrong"), KeyboardInterrupt()])
    bench = Bench(in_async_handler(Raises(with_others)))
    with pytest.raises(KeyboardInterrupt):
        await bench.subscription._dispatch.handle(jobs(1))


def jobs(number: int) -> list[Job]:
    owned = OwnedPartition(WHERE, Lease(1), Ledger(0, 10), Holds(lambda: 0.0))
    return [Job(Record(*WHERE, number, 0, None, b"%d" % number), owned, 1)]


async def test_a_group_with_the_workers_own_cancellation_in_it_settles_nothing() -> None:
    async def handle(message: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancellation:
            raise BaseExceptionGroup("several", [cancellation, ValueError("while cleaning up")]) from None

    async with Bench(handle) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        revoked = bench.transport.revoke(bench.clock.now() + 1)
        await bench.advance(1)
        await revoked
        assert bench.subscription.status().failed_attempts == 0
        assert bench.worker.alive


async def test_a_runner_that_is_thrown_away_with_its_loop_blames_no_message() -> None:
    async def handle(message: int) -> None:
        await asyncio.Event().wait()

    bench = Bench(handle)
    at_work = bench.subscription._dispatch.handle(jobs(0))
    at_work.send(None)
    at_work.close()
    assert bench.subscription.status().failed_attempts == 0
