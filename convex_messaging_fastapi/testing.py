"""For users' tests: a bus on an in-process broker, with a clock that only the test turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.consuming.calling import CallContext, CallPlan
from convex_messaging_fastapi.consuming.retry import members_done
from convex_messaging_fastapi.errors import BusStateError, ConfigurationError, DecodeError
from convex_messaging_fastapi.messages import (
    DeadLetterMessage,
    codec_for,
    dead_letter_topic,
    topic_on_wire,
)
from convex_messaging_fastapi.messages.bounds import Bounds
from convex_messaging_fastapi.messages.headers import CONTENT_TYPE
from convex_messaging_fastapi.messages.topics import dead_letter_states
from convex_messaging_fastapi.operations import MAX_REPLAYS, Filter, Job, Operations, still_open
from convex_messaging_fastapi.records import Delivery, Record, header_text
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.status import BusStatus, PartitionStatus, WorkerStatus
from convex_messaging_fastapi.subscribers import Handler
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport

T = TypeVar("T")

EVERY_OPEN_ONE = Filter()

TURNS = 50
"""Loop iterations to run before assuming that everything not blocked on a timer has finished: fewer where
the loop says that nothing is left to run."""

REAL_SECONDS = 10.0
"""How long `settle` lets handlers wait for something outside before it says that they hang."""

MOMENT_SECONDS = 0.02
"""How long `advance` gives handlers that run in threads, or wait for something outside."""


@dataclass(frozen=True, slots=True)
class WatchedPlan(CallPlan):
    """Calls a handler as its own plan does, and notes what the handler has finished.

    It is never direct, so that every message passes through here.
    """

    note: Callable[[Any], None] = field(kw_only=True, compare=False)

    async def call(
        self, message: Any, delivery: Delivery | list[Delivery] | None, call_context: CallContext
    ) -> None:
        given = list(message) if isinstance(delivery, list) else message  # the handler may empty its batch
        try:
            await CallPlan.call(self, message, delivery, call_context)
        except BaseException as error:
            if isinstance(delivery, list) and (done := members_done(error)):
                self.note(given[:done])
            raise
        self.note(given)


def watched(plan: CallPlan, note: Callable[[Any], None]) -> CallPlan:
    """The same plan, which calls `note` with each finished message."""
    known = {each.name: getattr(plan, each.name) for each in fields(CallPlan)}
    return WatchedPlan(**known | {"is_direct": False}, note=note)


async def until_idle(most: int) -> bool:
    """Let the loop go on until nothing is ready to run, for at most so many turns; whether that is so.

    Once nothing is ready, everything waits for time, for a thread or for the outside. The loop tells by an
    attribute of its own, as asyncio's do; one that has none gets all turns.
    """
    # To take all turns at each step of the clock is most of what a test costs.
    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    for _ in range(most):
        await asyncio.sleep(0)
        if ready is not None and not ready:
            return True
    return False


class TestBench:
    """What `async with bus.test() as t` gives: turn the clock, and look at what came of it.

    `clock` and `broker` are for what the other verbs do not say: `broker.down()` plays an outage.
    """

    __test__ = False  # the name looks like a test class to pytest

    def __init__(self, settings: MessagingSettings) -> None:
        self.clock: ManualClock = ManualClock()
        self.broker: MemoryBroker = MemoryBroker(self.clock)
        self.transport: MemoryTransport = MemoryTransport(
            self.broker,
            auto_offset_reset=settings.auto_offset_reset,
            revoke_drain_seconds=settings.revoke_drain_seconds,
        )
        self._prefix = settings.topic_prefix
        bounds = Bounds(settings.max_message_bytes, settings.max_message_items)
        # Dead letters may be larger, and may be read as JSON as well.
        self._any = codec_for(Any).within(bounds.of_dead_letters)
        self._letter = codec_for(DeadLetterMessage).within(bounds.of_dead_letters)
        self._status: Callable[[], BusStatus] | None = None
        self._operations: Callable[[], Operations] | None = None
        self._turn: Callable[[], Coroutine[Any, Any, bool]] | None = None
        self._handlers: dict[str, Handler] = {}
        self._handled: list[tuple[str, Any]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def notes_of(self, id: str, handler: Handler) -> Callable[[Any], None]:
        """Takes each message that this subscription's handler finishes from now on."""
        self._handlers[id] = handler
        return lambda message: self._handled.append((id, message))

    def watch(
        self,
        status: Callable[[], BusStatus],
        operations: Callable[[], Operations],
        turn: Callable[[], Coroutine[Any, Any, bool]],
    ) -> None:
        """Use these snapshots to tell whether anything is still to be done, and these verbs to do it.

        `turn` publishes what waits in an outbox, and says whether there was anything.
        """
        self._status, self._operations, self._turn = status, operations, turn
        self._loop = asyncio.get_running_loop()

    def records(self, topic: str) -> list[Record]:
        """Every record of a topic as it is on the wire, in the order written.

        `record.key` and `record.value` are bytes, `record.headers` pairs of a name and bytes: what
        `published` leaves out. `[]` for a topic that nobody has used.
        """
        return list(self.broker.records(topic_on_wire(self._prefix, topic)))

    def published(self, topic: str) -> list[Any]:
        """The messages of a topic: decoded JSON, raw bytes where `content-type` says no JSON, `None` for a
        tombstone.

        Raises `DecodeError` for what a handler without an annotation would not be given.
        """
        return [self._published(topic, record) for record in self.records(topic)]

    def _published(self, topic: str, record: Record) -> Any:
        said = header_text(record.headers, CONTENT_TYPE)
        if record.value is None or (said is not None and "json" not in said):
            return record.value
        try:
            return self._any.decode(record.value)
        except DecodeError as error:
            raise DecodeError(
                f"topic {topic!r} holds no JSON: look at t.records({topic!r}). {error}"
            ) from None

    def handled(self, handler: Handler | str) -> list[Any]:
        """The messages that a handler has finished, in the order in which it did.

        `handler` is the function that was declared, as a subscriber or receiver, at any time since
        the bench was opened; or the id of one of its subscriptions. Each message is what the handler
        was given: a model, or for batches the list (up to the index, after `BatchFailed`). An attempt
        that failed is not among them, nor what was rejected or discarded; a message that was
        handled twice is there twice. Raises `ConfigurationError` where there is no such handler.
        """
        if isinstance(handler, str):
            ids = {handler} & self._handlers.keys()
        else:
            ids = {id for id, known in self._handlers.items() if known == handler}
        if not ids:
            raise ConfigurationError(_unknown(handler, self._handlers))
        return [message for id, message in self._handled if id in ids]

    def dead_letters(self, *, open: bool = False) -> list[DeadLetterMessage]:
        """Everything that was buried; with `open=True` what nobody has replayed or discarded yet."""
        letters = self.broker.records(dead_letter_topic(self._prefix))
        if open:
            letters = still_open(letters, self.broker.records(dead_letter_states(self._prefix)))
        return [self._letter.decode(record.value) for record in letters]

    async def replay(
        self, wanted: Filter = EVERY_OPEN_ONE, *, handler: str | None = None, max_replays: int = MAX_REPLAYS
    ) -> Job:
        """Replay dead letters to the handlers that failed, by default all open ones, and `settle`.

        The job is as `bus.operations.replay` ends it; that says what the keywords mean, and what is raised.
        """
        self._refuse_elsewhere()
        assert self._operations is not None, "the bench watches its bus from the start"  # noqa: S101
        replaying = self._replayed(self._operations(), wanted, handler, max_replays)
        job = await self._turning(asyncio.ensure_future(replaying))
        await self.settle()
        return job

    async def _replayed(
        self, operations: Operations, wanted: Filter, handler: str | None, max_replays: int
    ) -> Job:
        job = await operations.replay(
            wanted, by="test", handler=handler, max_replays=max_replays, dry_run=False
        )
        return await operations.wait_for(job.id) if job.status == "running" else job

    async def advance(self, seconds: float) -> None:
        """Let time pass, and let everything happen that is due by then."""
        self._refuse_elsewhere()
        end = self.clock.now() + seconds
        await self._rest(MOMENT_SECONDS)
        while (due := self.clock.next_due()) is not None and self.clock.now() + due <= end:
            self.clock.advance(due)
            await self._rest(0.0)
        self.clock.advance(end - self.clock.now())
        await self._rest(MOMENT_SECONDS)

    async def settle(self, max_seconds: float = 3600.0) -> None:
        """Wait until every message has been handled, buried, discarded or held, or waits behind a pause.

        Committed messages of an outbox are published first, and so are those that handlers put there.

        Back-offs are not waited for: the clock is turned past them, by `max_seconds` at most.
        Raises `AssertionError` naming what was still unfinished then, and when a handler does not
        return within ten real seconds (use `advance` to let its timeout pass).
        """
        self._refuse_elsewhere()
        end = self.clock.now() + max_seconds
        await self._settle_by(end, max_seconds)
        while await self._publish_from_outboxes():
            await self._settle_by(end, max_seconds)

    async def _publish_from_outboxes(self) -> bool:
        return self._turn is not None and await self._turn()

    async def _settle_by(self, end: float, max_seconds: float) -> None:
        await self._rest(REAL_SECONDS)
        while unsettled := self._unsettled():
            due, left = self.clock.next_step(), end - self.clock.now()
            if due is None or left <= 0:
                raise AssertionError(_unfinished(max_seconds, unsettled, self._backing_off()))
            if running := self._running():
                raise AssertionError(f"handlers did not return within {REAL_SECONDS:g} s: {running}")
            self.clock.advance(min(due, left))
            await self._rest(REAL_SECONDS)

    async def finish(self, stop: Coroutine[Any, Any, None]) -> None:
        """Run the bus's stop, turning the clock whenever it waits for time.

        The clock is turned until the stop is done, even if this is cancelled.
        """
        try:
            self._refuse_elsewhere()
        except BusStateError:
            stop.close()
            raise
        await asyncio.shield(asyncio.ensure_future(self._turning(asyncio.ensure_future(stop))))

    def _refuse_elsewhere(self) -> None:
        if self._loop is not None and asyncio.get_running_loop() is not self._loop:
            raise BusStateError(
                "this bench was opened on another event loop, which does not turn while this one waits: give "
                "the fixture that opens it and the test one loop scope (with pytest-asyncio "
                '`loop_scope="session"` on both)'
            )

    async def _turning(self, waited_for: asyncio.Future[T]) -> T:
        """Turn the clock whenever everything waits for time, until the future is done."""
        while not waited_for.done():
            await until_idle(TURNS)
            if not waited_for.done() and (due := self.clock.next_due()) is not None:
                self.clock.advance(due)
        return await waited_for

    async def _rest(self, limit: float) -> None:
        """Return once nothing goes on without time passing, at the latest after `limit` real seconds."""
        gives_up_at = time.monotonic() + limit
        while True:
            if not await until_idle(TURNS) and await self._goes_on():
                continue
            if time.monotonic() >= gives_up_at or not self._running():
                return
            await asyncio.sleep(0.001)  # a handler waits for something outside, or runs in a thread

    def _running(self) -> list[str]:
        """Ids of the subscriptions whose handlers are running, and do not wait for the clock."""
        status = self._snapshot()
        if status.producer is not None and status.producer.pending:
            return []  # what they publish, or their dead letter, is tried again later
        return [sub.id for worker in status.workers for sub in worker.subscriptions if sub.running]

    def _backing_off(self) -> list[str]:
        """Ids of the subscriptions whose messages wait for another try."""
        workers = self._snapshot().workers
        return [sub.id for worker in workers for sub in worker.subscriptions if sub.backing_off]

    async def _goes_on(self) -> bool:
        """Whether further turns change anything that the bus shows."""
        before = self._snapshot()
        await until_idle(TURNS)
        return before != self._snapshot()

    def _snapshot(self) -> BusStatus:
        assert self._status is not None, "the bench watches its bus from the start"  # noqa: S101
        return self._status()

    def _unsettled(self) -> list[str]:
        status = self._snapshot()
        pending = status.producer.pending if status.producer is not None else 0
        waiting = [f"{pending} messages being published"] if pending else []
        for worker in status.workers:
            waiting += self._unsettled_of(worker)
        return waiting

    def _unsettled_of(self, worker: WorkerStatus) -> list[str]:
        if worker.revision == 0 or worker.rebalancing:
            return [f"group {worker.group} has not joined"]
        return [
            f"{held.topic}/{held.partition} at {_oldest(held)}"
            for held in worker.partitions
            if held.held not in ("dead_letter_held", "paused") and not self._is_done(held)
        ]

    def _is_done(self, partition: PartitionStatus) -> bool:
        end = self.broker.end_offsets(partition.topic)[partition.partition]
        return partition.unfinished == 0 and partition.position >= end


def _unfinished(seconds: float, unsettled: list[str], backing_off: list[str]) -> str:
    tried = f"; tried again and again: {backing_off}" if backing_off else ""
    return f"still unfinished after {seconds:g} s of test time: {unsettled}{tried}"


def _oldest(partition: PartitionStatus) -> int:
    """The first offset that is not finished."""
    oldest = partition.oldest_unfinished
    return partition.position if oldest is None else oldest


def _unknown(handler: Handler | str, known: Collection[str]) -> str:
    """The text for what is no handler of this bus."""
    wanted = handler if isinstance(handler, str) else getattr(handler, "__qualname__", repr(handler))
    ids = ", ".join(map(repr, sorted(known))) or "none"
    return (
        f"no handler of this bus is {wanted!r}. Its subscriptions are {ids}: give "
        "one of these ids, or the function as it was declared"
    )
