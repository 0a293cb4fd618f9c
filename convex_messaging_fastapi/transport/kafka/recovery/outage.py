"""Says once that a bus has lost contact with its cluster, and once that it is back, for all of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.events import ContactLost, ContactRegained
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import (
    Explanation,
    explain_topics,
    missing_among,
)

MOST_REASONS = 3
"""How many different reasons of one outage are told: brokers on their way back give one each second."""

REPLACED_SECONDS = 60.0
"""How long the same reason for replacing the engine of a part is not told again."""


class Outage:
    """What the parts of one bus, its producer and its groups, suffer from.

    Lost contact is told once for all parts. A part may also suffer although the cluster answers, which is
    told of that part. `held_back` counts the lines of the client that were kept out of the log.
    """

    def __init__(
        self,
        cluster: str,
        clock: Clock,
        held_back: Callable[[], int],
        observers: Observers = ONLY_THE_LOG,
    ) -> None:
        self._observers = observers
        self._cluster, self._clock, self._held_back = cluster, clock, held_back
        self._without: set[str] = set()
        self._since = 0.0
        self._held_back_before = 0
        self._told: set[str] = set()
        self._had_contact = False
        self._suffering: dict[str, set[str]] = {}
        self._replaced: dict[tuple[str, str], float] = {}

    def contact_lost(self, part: str, why: str, heard_at: float | None) -> None:
        """`part` gets no answer from the cluster; it last did at `heard_at`, if ever."""
        if not self._without:
            self._since = self._clock.now() if heard_at is None else heard_at
            self._held_back_before = self._held_back()
            self._told = set()
        self._without.add(part)
        if why not in self._told and len(self._told) < MOST_REASONS:
            self._told.add(why)
            self._observers.contact_lost(ContactLost(self._cluster, why, self._had_contact))

    def suffers(self, part: str, what: str, why: str) -> None:
        """The cluster answers, and yet `part` gets no further."""
        told = self._suffering.setdefault(part, set())
        if why not in told and len(told) < MOST_REASONS:
            told.add(why)
            reports.part_suffers(part, what, why)

    def replaced(self, part: str, why: str) -> None:
        now, last = self._clock.now(), self._replaced.get((part, why))
        reports.engine_replaced(part, why, is_known=last is not None and now - last < REPLACED_SECONDS)
        self._replaced = {one: at for one, at in self._replaced.items() if now - at < REPLACED_SECONDS}
        self._replaced.setdefault((part, why), now)

    def is_over(self, part: str) -> None:
        """`part` is well. Called every second: nearly always there is nothing to say."""
        self._had_contact = True
        if self._suffering.pop(part, None) is not None and part not in self._without:
            reports.part_goes_on(part)
        if part in self._without:
            self.forget(part)
            if not self._without:
                held_back = self._held_back() - self._held_back_before
                seconds = self._clock.now() - self._since
                self._observers.contact_regained(ContactRegained(self._cluster, seconds, held_back))

    def forget(self, part: str) -> None:
        """The part was stopped, and suffers no more."""
        self._without.discard(part)
        self._suffering.pop(part, None)


class MissingTopics:
    """Reports topics that the cluster does not have, once for as long as they are missing.

    A new topic may be known to one broker and not yet to another, so a topic counts as missing only after
    `patience_seconds`.
    """

    def __init__(self, group: str, clock: Clock, *, are_made: bool, patience_seconds: float) -> None:
        self._group, self._clock = group, clock
        self._are_made, self._patience_seconds = are_made, patience_seconds
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, refused: Mapping[str, type[BaseException]]) -> None:
        """`refused` has the errors of topics in the last metadata."""
        if not refused and not self._since:
            return
        missing = missing_among(refused)
        now = self._clock.now()
        self._since = {topic: self._since.get(topic, now) for topic in missing}
        self._told &= self._since.keys()
        news = [topic for topic, since in self._since.items() if now - since >= self._patience_seconds]
        if new := set(news) - self._told:
            self._told |= new
            reports.topics_missing(self._group, new, are_made=self._are_made)

    def may_come(self, refused: Mapping[str, type[BaseException]]) -> bool:
        """Whether a topic is unknown, but not yet for so long that it counts as missing."""
        return bool(self._young(refused))

    def explain(self, refused: Mapping[str, type[BaseException]]) -> Explanation | None:
        """What is wrong with these topics, apart from those that may still come."""
        young = self._young(refused)
        return explain_topics({topic: error for topic, error in refused.items() if topic not in young})

    def _young(self, refused: Mapping[str, type[BaseException]]) -> set[str]:
        return set(missing_among(refused)) - self._told
