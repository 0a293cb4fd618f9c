"""What observers may hear: the class they derive from, and a frozen value for whatever happens rarely."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Record, TopicPartition

AttemptOutcome = Literal["handled", "failed", "timed_out", "rejected", "discarded", "cancelled"]
"""`cancelled` is one that the bus had no more time for: nothing is settled, its messages come again."""

AttemptEnded = Callable[[AttemptOutcome, BaseException | None], object]
"""Called in the context of the attempt once it has ended, with what it failed with."""

PublishVerb = Literal["publish", "publish_many", "tombstone"]

PublishEnded = Callable[[Sequence[Receipt], BaseException | None], object]
"""Called in the context of the publish once it has ended: one receipt a message, or why there is none."""


@dataclass(frozen=True, slots=True)
class Retried:
    """An attempt failed, and another follows after so many seconds. Of a batch it is the first message."""

    record: Record
    failure: Failure
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Buried:
    """The cluster has acknowledged a dead letter, after `failed_tries` of writing it that failed."""

    record: Record
    failure: Failure
    letter: Receipt
    failed_tries: int


@dataclass(frozen=True, slots=True)
class Committed:
    """One attempt of a group to commit: the offsets that are stored, and the partitions whose are not."""

    group: str
    offsets: Mapping[TopicPartition, int]
    not_stored: Collection[TopicPartition]
    seconds: float


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """This process now holds `gained` for a group, or has let go of `given_up`, as in a stop, too.

    `at_work` handlers were at work on what is given up. What is `lost` another process may hold
    already. `is_first`: the group has held nothing before.
    """

    group: str
    gained: Collection[TopicPartition] = ()
    given_up: Collection[TopicPartition] = ()
    at_work: int = 0
    is_lost: bool = False
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class ContactLost:
    """No broker of the cluster answers. Told again, at most twice, where the reason becomes another."""

    cluster: str
    why: str
    had_contact: bool


@dataclass(frozen=True, slots=True)
class ContactRegained:
    """The cluster answers again. So many lines of its client were held back from the log meanwhile."""

    cluster: str
    seconds: float
    lines_held_back: int


class Observer:
    """Hears what a bus does. Derive from it, override what you want to hear, and give that to the bus.

        bus = MessageBus(observers=[Counts()])

    A method that is not overridden costs nothing. All are called on the bus's event loop, between two
    steps of its work, so they must be quick, and cannot wait. What one raises is logged once, and
    changes nothing. None can be heard twice of one thing, and none is promised after a crash.
    """

    def handling(
        self, group: str, handler: str, records: Sequence[Record], attempt: int
    ) -> AttemptEnded | None:
        """An attempt begins; what this returns is called when it ends.

        `handler` is the id of the subscription; `records` are one, or the members of a batch. It is
        called in the handler's context: a context variable that is set here is seen by the handler
        and its dependencies; set it back when the attempt ends, or the next message costs a task.
        To decode is part of an attempt; a message that cannot be is an attempt that failed.
        """
        return None

    def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded | None:
        """Something is about to be encoded and published; what this returns is called when that ends.

        `topic` is its name on the wire. It is called in the context of whoever publishes, after all
        middleware. Dead letters are told by `buried` alone.
        """
        return None

    def retried(self, event: Retried) -> None: ...

    def buried(self, event: Buried) -> None: ...

    def committed(self, event: Committed) -> None: ...

    def rebalanced(self, event: Rebalanced) -> None: ...

    def contact_lost(self, event: ContactLost) -> None: ...

    def contact_regained(self, event: ContactRegained) -> None: ...
