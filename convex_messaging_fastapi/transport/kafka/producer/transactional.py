"""Transactions over the engine's connections: tried for as long as they may last, then told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka import errors as engine
from aiokafka.errors import KafkaError

from convex_messaging_fastapi.clock import Clock, settled_within, sleep
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.kafka.engine import (
    FencedProducer,
    InvalidRecord,
    Transactions,
    may_pass,
)
from convex_messaging_fastapi.transport.kafka.recovery import Explanation, Reached
from convex_messaging_fastapi.transport.kafka.tuning import Tuning
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted

_ONE_AT_A_TIME = 1
"""Bytes of a batch that holds no more than its first record."""

_CLOSING_SECONDS = 0.5
"""At least so long connections have for closing, which needs no answer."""

_TOO_LARGE = (engine.MessageSizeTooLargeError, engine.RecordListTooLargeError)

_FATES: Mapping[type[BaseException], Fate] = {
    engine.InvalidProducerEpoch: Fate.FENCED,
    FencedProducer: Fate.FENCED,
    **dict.fromkeys(_TOO_LARGE, Fate.TOO_LARGE),
    engine.TransactionalIdAuthorizationFailed: Fate.REFUSED,
    engine.TopicAuthorizationFailedError: Fate.REFUSED,
    engine.ClusterAuthorizationFailedError: Fate.REFUSED,
    engine.InvalidTransactionTimeout: Fate.REFUSED,
    engine.InvalidTopicError: Fate.REFUSED,
    engine.PolicyViolationError: Fate.REFUSED,
    engine.UnsupportedVersionError: Fate.REFUSED,
    engine.IncompatibleBrokerVersion: Fate.REFUSED,
    InvalidRecord: Fate.REFUSED,
}


class KafkaTransactional:
    """Implements `TransactionalProducer`. No step is tried for longer than `patience_seconds`."""

    def __init__(
        self,
        clock: Clock,
        tuning: Tuning,
        patience_seconds: float,
        id: str,
        *,
        reach: Callable[[], Awaitable[Reached | Explanation]],
        transactions: Callable[[Reached], Transactions],
    ) -> None:
        self._clock, self._tuning, self._patience_seconds, self._id = clock, tuning, patience_seconds, id
        self._reach, self._make = reach, transactions
        self._made: Transactions | None = None
        self._open = False
        self._failed = False

    async def claim(self) -> None:
        reached = await self._reach()
        if isinstance(reached, Explanation):
            raise NotCommitted(Fate.FAILED, reached.detail)
        made = self._made = self._make(reached)
        with self._failing():
            await made.connect()
            await self._persist(made.claim)

    async def write(
        self, records: Mapping[TopicPartition, Sequence[OutgoingRecord]]
    ) -> Mapping[TopicPartition, Sequence[int]]:
        made = self._claimed()
        with self._failing():
            await self._persist(lambda: made.follow({where.topic for where in records}))
            self._open = True
            await self._persist(lambda: made.add(records))
            return await self._write(made, {where: some for where, some in records.items() if some})

    async def commit(self) -> None:
        if self._open:
            await self._end(commit=True)

    async def abort(self) -> None:
        if self._open:
            await self._end(commit=False)

    async def stop(self, deadline: float) -> None:
        made, self._made = self._made, None
        if made is None:
            return
        if self._open:
            await self._give_up(made, deadline)
        closing = asyncio.ensure_future(made.close())
        await settled_within(self._clock, closing, max(_CLOSING_SECONDS, deadline - self._clock.now()))
        _forget(closing)

    async def _give_up(self, made: Transactions, deadline: float) -> None:
        """Abort at once, so that nobody who reads the same logs waits for a timeout."""
        self._open = False
        aborting = asyncio.ensure_future(made.end(commit=False))
        await settled_within(self._clock, aborting, deadline - self._clock.now())
        _forget(aborting)

    async def _write(
        self, made: Transactions, left: dict[TopicPartition, Sequence[OutgoingRecord]]
    ) -> Mapping[TopicPartition, Sequence[int]]:
        offsets: dict[TopicPartition, list[int]] = {where: [] for where in left}
        limits = dict.fromkeys(left, self._tuning.batch_bytes)
        while left:
            written = await self._write_some(made, left, limits)
            for where, (first, taken) in written.items():
                offsets[where] += range(first, first + taken)
                if rest := left.pop(where)[taken:]:
                    left[where] = rest
        return offsets

    async def _write_some(
        self,
        made: Transactions,
        left: Mapping[TopicPartition, Sequence[OutgoingRecord]],
        limits: dict[TopicPartition, int],
    ) -> dict[TopicPartition, tuple[int, int]]:
        """A batch of each partition: where it begins, and how many records it has."""
        at = int(self._clock.unix() * 1000)
        unsent = {where: made.number(where, some, at, limits[where]) for where, some in left.items()}
        written: dict[TopicPartition, tuple[int, int]] = {}
        give_up = self._clock.now() + self._patience_seconds
        while unsent:
            again: dict[TopicPartition, Any] = {}
            for where, answer in (await made.produce(unsent)).items():
                batch = unsent[where]
                if isinstance(answer, int):
                    written[where] = (answer, batch.taken)
                elif isinstance(answer, _TOO_LARGE) and batch.taken > 1:
                    limits[where] = _ONE_AT_A_TIME
                elif may_pass(answer) and self._clock.now() < give_up:
                    again[where] = batch
                else:
                    raise answer
            unsent = again
            if unsent:
                await sleep(self._clock, self._tuning.retry_seconds)
        return written

    async def _end(self, *, commit: bool) -> None:
        made, self._open = self._claimed(), False
        unanswered = False

        async def end() -> None:
            nonlocal unanswered
            try:
                await made.end(commit=commit)
            except KafkaError as error:
                # Then it may have been done, and whatever is told later may be of what came after.
                unanswered = unanswered or not _is_answer(error)
                raise

        with self._failing(unknown=lambda error: commit and (unanswered or may_pass(error))):
            await self._persist(end)

    async def _persist(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Try as long as what is in the way may pass."""
        give_up = self._clock.now() + self._patience_seconds
        while True:
            try:
                return await attempt()
            except KafkaError as error:
                if not may_pass(error) or self._clock.now() >= give_up:
                    raise
                # Markers of the transaction before are written while we wait: some milliseconds.
                passing = isinstance(error, engine.ConcurrentTransactions)
            await sleep(self._clock, self._tuning.markers_seconds if passing else self._tuning.retry_seconds)

    @contextmanager
    def _failing(self, unknown: Callable[[KafkaError], bool] = lambda error: False) -> Iterator[None]:
        try:
            yield
        except KafkaError as error:
            self._failed = True
            fate = Fate.UNKNOWN if unknown(error) else _FATES.get(type(error), Fate.FAILED)
            raise NotCommitted(fate, self._sentence(error)) from error

    def _claimed(self) -> Transactions:
        if self._made is None or self._failed:
            raise NotCommitted(Fate.FAILED, "this producer is over: the id must be claimed with a new one")
        return self._made

    def _sentence(self, error: KafkaError) -> str:
        match error:
            case engine.TransactionalIdAuthorizationFailed():
                right = f"WRITE on transactional id {self._id}"
            case engine.TopicAuthorizationFailedError():
                right = f"WRITE on topic {error.args[0]}" if error.args else "WRITE on a topic"
            case engine.ClusterAuthorizationFailedError():
                right = "WRITE on a topic, or IDEMPOTENT_WRITE on the cluster"
            case _:
                said = getattr(error, "description", "") or error
                return f"{type(error).__name__}: {said}".removesuffix(": ")
        return f"these credentials lack {right} ({type(error).__name__})"


def _forget(task: asyncio.Future[None]) -> None:
    """End it, and whatever it says is of no use any more."""
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    task.cancel()


def _is_answer(error: KafkaError) -> bool:
    # The engine gives a request that nobody answered the name of a broker's own error.
    return isinstance(error, engine.BrokerResponseError) and not isinstance(
        error, engine.RequestTimedOutError
    )
