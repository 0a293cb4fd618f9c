"""Several observers as one, of which none can fail what it observes; the lines of the log are the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.events import (
    AttemptEnded,
    BreakerClosed,
    BreakerOpened,
    Buried,
    Committed,
    ContactLost,
    ContactRegained,
    Observer,
    Polled,
    PublishEnded,
    PublishVerb,
    Rebalanced,
    Retried,
)
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.measuring import Measuring, Speed
from convex_messaging_fastapi.records import Headers, Record

E = TypeVar("E")
Complain = Callable[[BaseException], None]

AttemptBegins = Callable[[Sequence[Record], int], AttemptEnded | None]
PublishBegins = Callable[[str, PublishVerb], PublishEnded | None]
BurialBegins = Callable[[str, Record, Failure], PublishEnded | None]


class Observers:
    """Tells all observers of a bus, after the log. Which of them want to hear of what is settled here.

    What is told of every message, polls and commits are `None` where nobody listens.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._all = [(each, _told_once(each)) for each in (reports.LogLines(), *observers)]
        self.retried: Callable[[Retried], None] = self._tell(Observer.retried) or _nobody
        self.buried: Callable[[Buried], None] = self._tell(Observer.buried) or _nobody
        self.polled: Callable[[Polled], None] | None = self._tell(Observer.polled)
        self.committed: Callable[[Committed], None] | None = self._tell(Observer.committed)
        self.sending: Callable[[Headers], None] | None = self._tell(Observer.sending)
        self.rebalanced: Callable[[Rebalanced], None] = self._tell(Observer.rebalanced) or _nobody
        self.contact_lost: Callable[[ContactLost], None] = self._tell(Observer.contact_lost) or _nobody
        self.contact_regained: Callable[[ContactRegained], None] = (
            self._tell(Observer.contact_regained) or _nobody
        )
        self.breaker_opened: Callable[[BreakerOpened], None] = self._tell(Observer.breaker_opened) or _nobody
        self.breaker_closed: Callable[[BreakerClosed], None] = self._tell(Observer.breaker_closed) or _nobody

    def attempts_of(self, group: str, handler: str) -> AttemptBegins | None:
        """What to call when an attempt of this handler begins."""
        begin = [
            _attempt(each, group, handler, complain)
            for each, complain in self._all
            if _overrides(each, Observer.handling)
        ]
        if len(begin) < 2:
            return begin[0] if begin else None

        def all_begin(records: Sequence[Record], attempt: int) -> AttemptEnded | None:
            ends = [end for each in begin if (end := each(records, attempt)) is not None]
            return _all_end(ends) if ends else None

        return all_begin

    def speed_of(self, group: str, handler: str) -> Speed | None:
        """How fast this handler is; `None` where nobody measures."""
        measuring = (each for each, _ in self._all if isinstance(each, Measuring))
        return next((each.speed(group, handler) for each in measuring), None)

    @property
    def publishing(self) -> PublishBegins | None:
        """What to call when a publish begins."""
        begin = [
            _publish(each, complain) for each, complain in self._all if _overrides(each, Observer.publishing)
        ]
        if len(begin) < 2:
            return begin[0] if begin else None

        def all_begin(topic: str, verb: PublishVerb) -> PublishEnded | None:
            ends = [end for each in begin if (end := each(topic, verb)) is not None]
            return _all_end(ends) if ends else None

        return all_begin

    @property
    def burying(self) -> BurialBegins | None:
        """What to call when a try to write a dead letter begins."""
        begin = [
            _burial(each, complain) for each, complain in self._all if _overrides(each, Observer.burying)
        ]
        if len(begin) < 2:
            return begin[0] if begin else None

        def all_begin(topic: str, record: Record, failure: Failure) -> PublishEnded | None:
            ends = [end for each in begin if (end := each(topic, record, failure)) is not None]
            return _all_end(ends) if ends else None

        return all_begin

    def _tell(self, heard: Callable[[Observer, E], None]) -> Callable[[E], None] | None:
        listening = [
            (getattr(each, heard.__name__), complain)
            for each, complain in self._all
            if _overrides(each, heard)
        ]

        def tell(event: E) -> None:
            for listen, complain in listening:
                try:
                    listen(event)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001 - nothing depends on what observers do
                    complain(error)

        return tell if listening else None


def _overrides(observer: Observer, method: Callable[..., object]) -> bool:
    return getattr(type(observer), method.__name__) is not method


def _told_once(observer: Observer) -> Complain:
    told: list[bool] = []

    def complain(error: BaseException) -> None:
        if not told:
            told.append(True)
            kind = type(observer).__qualname__
            reports.defect(f"the observer {kind} raised, which changes nothing and is told once", error)

    return complain


# One call in between is all that an observer costs beside itself: these are written out for that.


def _attempt(observer: Observer, group: str, handler: str, complain: Complain) -> AttemptBegins:
    begin = observer.handling

    def guarded(records: Sequence[Record], attempt: int) -> AttemptEnded | None:
        try:
            end = begin(group, handler, records, attempt)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - nothing depends on what observers do
            complain(error)
            return None
        return None if end is None else _guarded_end(end, complain)

    return guarded


def _publish(observer: Observer, complain: Complain) -> PublishBegins:
    begin = observer.publishing

    def guarded(topic: str, verb: PublishVerb) -> PublishEnded | None:
        try:
            end = begin(topic, verb)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - nothing depends on what observers do
            complain(error)
            return None
        return None if end is None else _guarded_end(end, complain)

    return guarded


def _burial(observer: Observer, complain: Complain) -> BurialBegins:
    begin = observer.burying

    def guarded(topic: str, record: Record, failure: Failure) -> PublishEnded | None:
        try:
            end = begin(topic, record, failure)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - nothing depends on what observers do
            complain(error)
            return None
        return None if end is None else _guarded_end(end, complain)

    return guarded


A = TypeVar("A")
B = TypeVar("B")


def _guarded_end(end: Callable[[A, B], object], complain: Complain) -> Callable[[A, B], object]:
    def guarded(one: A, other: B) -> None:
        try:
            end(one, other)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - nothing depends on what observers do
            complain(error)

    return guarded


def _all_end(ends: Sequence[Callable[[A, B], object]]) -> Callable[[A, B], object]:
    """The last first: what each has set in the context it can set back."""

    def end(one: A, other: B) -> None:
        for each in reversed(ends):
            each(one, other)

    return end


def _nobody(event: object) -> None:
    """Nobody listens."""


ONLY_THE_LOG = Observers()
"""What those tell who were given no observers."""
