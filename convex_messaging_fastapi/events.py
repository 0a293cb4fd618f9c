"""What observers may hear: the class they derive from, and a frozen value for each rare event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Headers, Record, TopicPartition

AttemptOutcome = Literal[
    "handled", "failed", "timed_out", "rejected", "discarded", "already_handled", "cancelled"
]
"""`already_handled`: an inbox knew the message. `cancelled`: the bus had no time left for the attempt.
Nothing is settled then, and its messages come again."""

AttemptEnded = Callable[[AttemptOutcome, BaseException | None], object]
"""Called in the context of the attempt once it has ended, with its outcome and its exception, if any."""

PublishVerb = Literal["publish", "publish_many", "tombstone"]

PublishEnded = Callable[[Sequence[Receipt], BaseException | None], object]
"""Called in the context of the publish once it has ended, with one receipt a message, or with the error."""


@dataclass(frozen=True, slots=True)
class Retried:
    """An attempt failed, and another follows after `delay_seconds`. `record` is the first of a batch."""

    record: Record
    failure: Failure
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Buried:
    """The cluster has acknowledged a dead letter; `failed_tries` tries to write it had failed before."""

    record: Record
    failure: Failure
    letter: Receipt
    failed_tries: int


@dataclass(frozen=True, slots=True)
class Polled:
    """Messages came in for a group: how many of each partition, and the seconds that were waited for them.

    They were fetched before that, and handlers get them when it is their turn.
    """

    group: str
    counts: Mapping[TopicPartition, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Committed:
    """One attempt of a group to commit, and the seconds it took.

    `offsets` has the next offset of each partition that was stored; those of `not_stored` were not.
    """

    group: str
    offsets: Mapping[TopicPartition, int]
    not_stored: Collection[TopicPartition]
    seconds: float


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """This process now holds `gained` for a group, or has given up `given_up`; a stop gives up all.

    `at_work` counts the handlers that were at work on what is given up. `is_lost`: another process may
    hold it already. `is_first`: this process has held nothing for the group before.
    """

    group: str
    gained: Collection[TopicPartition] = ()
    given_up: Collection[TopicPartition] = ()
    at_work: int = 0
    is_lost: bool = False
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class ContactLost:
    """No broker of the cluster answers. Told again, at most twice, when the reason `why` changes."""

    cluster: str
    why: str
    had_contact: bool


@dataclass(frozen=True, slots=True)
class ContactRegained:
    """The cluster answers again, after `seconds` without contact.

    `lines_held_back` counts the lines of the client that were kept out of the log meanwhile.
    """

    cluster: str
    seconds: float
    lines_held_back: int


@dataclass(frozen=True, slots=True)
class BreakerOpened:
    """Nothing succeeds any more, last with this failure: one message is tried in so many seconds."""

    group: str
    handler: str
    exception_type: str
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class BreakerClosed:
    """A message has succeeded, or an operator has closed it, after so many seconds: everything goes on."""

    group: str
    handler: str
    seconds: float


class Observer:
    """Hears what a bus does. Derive from it, override what you want to hear, and give that to the bus.

        bus = MessageBus(observers=[Counts()])

    A method that is not overridden costs nothing. All are called on the bus's event loop, between two
    steps of its work, so they must be quick, and cannot wait. What one raises is logged once, and
    changes nothing. Each event is told once; an event before a crash may not be told at all.
    """

    def handling(
        self, group: str, handler: str, records: Sequence[Record], attempt: int
    ) -> AttemptEnded | None:
        """An attempt begins; what this returns is called when it ends.

        `handler` is the id of the subscription; `records` are one, or the members of a batch. It is
        called in the handler's context: a context variable that is set here is seen by the handler
        and its dependencies; reset it when the attempt ends, or the next message costs a new task.
        Decoding is part of the attempt: a message that cannot be decoded is a failed attempt.
        """
        return None

    def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded | None:
        """A publish begins, and nothing is encoded yet; what this returns is called when it ends.

        `topic` is its name on the wire. It is called in the context of whoever publishes, after all
        middleware. Dead letters are told by `burying` and `buried` alone.
        """
        return None

    def sending(self, headers: Headers) -> None:
        """A message is encoded, and is written next with these headers, its `message-id` among them.

        It follows `publishing` of a publish or a tombstone, and each time that the letter of a `burying` is
        built, in the same context. The members of a `publish_many` are not told one by one.
        """

    def burying(self, topic: str, record: Record, failure: Failure) -> PublishEnded | None:
        """A try to write a dead letter begins; what this returns is called when it ends.

        `topic` is that of dead letters. A context variable that is set here is seen by what writes the
        letter, such as a span that its headers tell; reset it when the try ends.
        """
        return None

    def retried(self, event: Retried) -> None: ...

    def buried(self, event: Buried) -> None: ...

    def polled(self, event: Polled) -> None: ...

    def committed(self, event: Committed) -> None: ...

    def rebalanced(self, event: Rebalanced) -> None: ...

    def contact_lost(self, event: ContactLost) -> None: ...

    def contact_regained(self, event: ContactRegained) -> None: ...

    def breaker_opened(self, event: BreakerOpened) -> None: ...

    def breaker_closed(self, event: BreakerClosed) -> None: ...
