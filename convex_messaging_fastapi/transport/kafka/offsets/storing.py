"""Commits of one consumer: one attempt each, an outcome for each partition, and none stored late."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import NamedTuple

from aiokafka.errors import InvalidCommitOffsetSizeError, KafkaError, OffsetMetadataTooLargeError

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, settled_within
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Position
from convex_messaging_fastapi.transport.kafka.engine import NotStored
from convex_messaging_fastapi.transport.kafka.offsets.history import History
from convex_messaging_fastapi.transport.kafka.offsets.marks import marked
from convex_messaging_fastapi.transport.kafka.offsets.ownership import Holding
from convex_messaging_fastapi.transport.kafka.recovery import explain_commit, outcome_of

TERSE_SECONDS = 600.0
"""How long metadata stays shorter than what was refused; the limit may be raised meanwhile."""

_TOO_LONG = (OffsetMetadataTooLargeError, InvalidCommitOffsetSizeError)

Outcomes = dict[TopicPartition, CommitOutcome]
Answers = dict[TopicPartition, KafkaError | None]


class _Refused(NamedTuple):
    """Metadata of so many characters was refused; nothing as long is sent until then."""

    characters: int
    until: float


class Storing:
    """`words` has the cluster's reason for each partition whose latest commit was not stored."""

    def __init__(self, group: str, clock: Clock, history: History) -> None:
        self._group, self._clock, self._history = group, clock, history
        self._too_long: dict[TopicPartition, _Refused] = {}
        self.words: dict[TopicPartition, str] = {}

    async def commit(
        self,
        holding: Holding,
        offsets: Mapping[TopicPartition, Position],
        doubtful: Collection[str],
        deadline: float,
    ) -> Outcomes:
        """One attempt. Nothing is sent for `doubtful` topics, which may have been made anew."""
        # In a topic that was made anew, old offsets would hide new records from the next owner.
        recreated = holding.recreated()
        gone = {where for where in offsets if where in holding.cut or where.topic in recreated}
        doubted = {where for where in offsets.keys() - gone if where.topic in doubtful}
        told = {
            where: Position(position.offset, self._text(holding, where, position.metadata))
            for where, position in offsets.items()
            if where not in gone and where not in doubted
        }
        answers: Answers = {}
        attempt = asyncio.ensure_future(self._attempt(holding, told, answers))
        try:
            await settled_within(self._clock, attempt, deadline - self._clock.now())
        finally:
            # A request that was not sent yet must not be sent after a newer one.
            attempt.cancel()
        self.words |= dict.fromkeys(doubted, "its topic may have been made anew, which is being checked")
        return (
            self._answered(told, answers)
            | self._unanswered(told.keys() - answers.keys(), attempt)
            | dict.fromkeys(gone, CommitOutcome.COMMITTED)
            | dict.fromkeys(doubted, CommitOutcome.FAILED)
        )

    def forget(self) -> None:
        """The assignment is over."""
        self.words.clear()

    async def _attempt(
        self, holding: Holding, offsets: Mapping[TopicPartition, Position], answers: Answers
    ) -> None:
        """Fill in `answers` as they come. Raises `NotStored` or `KafkaError`."""
        left = dict(offsets)
        while left:
            unstored = await holding.member.commit(left, holding.who)
            shorter = {
                where: Position(left[where].offset, self._shorter(holding, where, left[where].metadata))
                for where, error in unstored.items()
                if isinstance(error, _TOO_LONG) and left[where].metadata
            }
            answers |= {where: unstored.get(where) for where in left.keys() - shorter.keys()}
            left = shorter

    def _text(self, holding: Holding, where: TopicPartition, metadata: str) -> str:
        text = marked(metadata, holding.topic_ids.get(where.topic))
        refused = self._too_long.get(where)
        while refused and text and len(text) >= refused.characters and self._clock.now() < refused.until:
            text = self._less(holding, where, text)
        return text

    def _shorter(self, holding: Holding, where: TopicPartition, text: str) -> str:
        """Metadata without the finished ranges; if that is too long, without the topic's id as well."""
        if where not in self._too_long:
            reports.metadata_refused(self._group, where, len(text))
        self._too_long[where] = _Refused(len(text), self._clock.now() + TERSE_SECONDS)
        return self._less(holding, where, text)

    def _less(self, holding: Holding, where: TopicPartition, text: str) -> str:
        alone = marked("", holding.topic_ids.get(where.topic))
        return alone if len(alone) < len(text) else ""

    def _answered(self, offsets: Mapping[TopicPartition, Position], answers: Answers) -> Outcomes:
        outcomes: Outcomes = {}
        for where, error in answers.items():
            if error is None:
                outcomes[where] = CommitOutcome.COMMITTED
                self._history.stored[where] = offsets[where].offset
                self.words.pop(where, None)
            else:
                outcomes[where] = outcome_of(error)
                self.words[where] = explain_commit(error, self._group, where.topic)
        return outcomes

    def _unanswered(self, rest: Collection[TopicPartition], attempt: asyncio.Future[None]) -> Outcomes:
        if not rest:
            return {}
        outcome, word = self._verdict(attempt)
        self.words |= dict.fromkeys(rest, word)
        return dict.fromkeys(rest, outcome)

    def _verdict(self, attempt: asyncio.Future[None]) -> tuple[CommitOutcome, str]:
        error = attempt.exception() if attempt.done() and not attempt.cancelled() else None
        if error is None:
            return CommitOutcome.UNKNOWN, "no answer in time"
        if isinstance(error, NotStored):
            return CommitOutcome.STALE, str(error)
        return outcome_of(error), explain_commit(error, self._group)
