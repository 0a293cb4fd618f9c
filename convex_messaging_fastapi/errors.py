"""Everything that can go wrong, and the four things a handler may say by raising.

    MessagingError
    ├── ConfigurationError          a mistake in code or settings
    │   ├── DeclarationError        a handler that cannot be declared so, or not supplied
    │   └── BusNotFound             `get_bus` found no bus on this app
    ├── BusStateError               the right call at the wrong moment
    │   ├── BusNotStarted
    │   └── BusStopped
    ├── MessageError                bytes and messages that do not fit each other
    │   ├── EncodeError             a message that cannot become bytes
    │   └── DecodeError             bytes that cannot become a message
    ├── PublishError                a message that was not acknowledged
    │   ├── PublishFailed           certainly not written
    │   │   └── MessageTooLarge     larger than its topic, or `max_message_bytes`, allows
    │   ├── PublishUnknown          may be written, or may land later
    │   └── PublishManyError        of many, some were not acknowledged
    ├── AttemptTimedOut             a handler did not return within its `timeout`
    ├── HandlerCancelled            a handler raised `CancelledError` although nobody cancelled it
    ├── HandlerExited               a handler raised `SystemExit`
    ├── NoSuchHandler               a dead letter was replayed to a handler that is gone
    ├── TransportError              Kafka could not do what was asked
    │   ├── TopicUnavailable        a topic is missing, or these credentials may not use it
    │   └── LettersUnavailable      dead letters, or what became of them, cannot be read
    ├── LetterNotFound              there is no dead letter of this id
    ├── ReplayRefused               a replay, or another action on letters, was not begun
    └── ReplayFenced                another operator has taken the replay over

    HandlerSignal                   raised by handlers, on purpose
    ├── Reject                      dead letter now
    ├── Discard                     done, on purpose, counted
    ├── RetryAfter                  try again then
    └── BatchFailed                 what stands before an index is done

`may_retry` says whether the same call may succeed later without anybody changing code or settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from convex_messaging_fastapi.receipts import Receipt

MAX_RETRY_AFTER_SECONDS = 300.0


class MessagingError(Exception):
    """The root of every error that this package raises."""

    may_retry: bool = False


class ConfigurationError(MessagingError):
    """A mistake in code or settings: nothing but a change mends it."""


class DeclarationError(ConfigurationError):
    """A handler is declared in a way that cannot work: by a keyword, by its type, or by what it asks for."""


class BusNotFound(ConfigurationError):
    """No running bus was found on the app that serves this request or handler."""


class BusStateError(MessagingError):
    """The right call at the wrong moment of the bus's life."""


class BusNotStarted(BusStateError):
    """The bus is declared but its lifespan has not begun."""

    may_retry = True


class BusStopped(BusStateError):
    """The bus has flushed its producer and left its groups."""


class MessageError(MessagingError):
    """Bytes and messages that do not fit each other."""


class EncodeError(MessageError):
    """A message that cannot be written as JSON, or that no handler would be given.

    NaN, an infinity, a type that JSON does not know; a secret, of which stars would be written; a number
    out of the bounds in which numbers are read.
    """


class DecodeError(MessageError):
    """Bytes that are not the message a handler expects. Its text never repeats the payload."""

    tells_kind_and_place_only: bool = False
    """Whether its text is this package's own, so that it is told whatever `error_texts` says."""


class PublishError(MessagingError):
    """A message that the cluster did not acknowledge."""


class PublishFailed(PublishError):
    """The message is certainly not in the log. Publishing it again makes no duplicate."""

    may_retry = True


class MessageTooLarge(PublishFailed):
    """The message is larger than its topic takes, or than `max_message_bytes`; its text says which.

    Publishing it again cannot help.
    """

    may_retry = False


class PublishUnknown(PublishError):
    """The message may be in the log, or may land there later.

    Publishing it again may make a duplicate. Consumers can tell by the `message-id` header only
    when the caller sets one of its own.
    """

    may_retry = True


class PublishManyError(PublishError):
    """Of many messages, some were not acknowledged.

    `receipts` holds one entry a message, in the order given, `None` where there is none.
    `failed` and `unknown` map the index of a message to its error. `may_retry` is true where it is
    true of each of these: otherwise the same call fails again, whatever becomes of the others.
    """

    def __init__(
        self,
        receipts: Sequence[Receipt | None],
        failed: Mapping[int, Exception],
        unknown: Mapping[int, PublishUnknown],
    ) -> None:
        self.receipts = receipts
        self.failed = failed
        self.unknown = unknown
        errors = (*failed.values(), *unknown.values())
        self.may_retry: bool = all(getattr(error, "may_retry", False) for error in errors)
        first = next(iter((failed or unknown).values()))
        super().__init__(
            f"of {len(receipts)} messages {len(failed)} were not written (indexes {_some(failed)}) "
            f"and {len(unknown)} may or may not be (indexes {_some(unknown)}); first: {first}"
        )


class AttemptTimedOut(MessagingError, TimeoutError):
    """A handler did not return within its subscriber's `timeout`."""

    may_retry = True


class HandlerCancelled(MessagingError):
    """A handler raised `CancelledError` although nobody cancelled it."""

    may_retry = True


class HandlerExited(MessagingError):
    """A handler raised `SystemExit`. It is an attempt that failed: one message ends no process."""

    may_retry = True


class NoSuchHandler(MessagingError):
    """A dead letter was replayed to a handler that its group has no more: it is buried again.

    Replay it to a handler that there is, or bring that one back under the same id.
    """


class TransportError(MessagingError):
    """Kafka could not do what was asked of it.

    `problem` is the word for it of the closed list that probes show (`auth_failed`, `topic_missing`, ...);
    empty where none fits.
    """

    may_retry = True

    def __init__(self, text: str = "", problem: str = "") -> None:
        self.problem = problem
        super().__init__(text)


class TopicUnavailable(TransportError):
    """A topic cannot be used: it is missing and could not be created, or these credentials may not use it.

    `remedy` says what to do, as the end of a sentence.
    """

    def __init__(
        self,
        reason: str,
        remedy: str = "create the topic, or set KAFKA_CREATE_TOPICS=true and start again",
        problem: str = "",
    ) -> None:
        self.remedy = remedy
        super().__init__(reason, problem)


class LettersUnavailable(TransportError):
    """Dead letters, or the states that say what became of them, cannot be read now.

    Its text names the topic and what the cluster said. Read on the dead-letter topics is all that a list
    needs; Read on `{prefix}.dlq.state` as well, whoever acts on letters.
    """


class LetterNotFound(MessagingError, LookupError):
    """No dead letter has this id: it was never written, or its topic keeps it no longer. List them again."""


RefusalReason = Literal[
    "states_unreadable",
    "states_unwritable",
    "no_transactions",
    "no_group",
    "no_live_member",
    "not_subscribed",
    "rebalancing",
    "no_handler",
    "target_not_allowed",
    "target_unwritable",
    "more_than_shown",
    "not_here",
]
"""Why nothing was begun.

`states_unreadable`, `states_unwritable`: rights on `{prefix}.dlq.state` are missing. `no_transactions`:
Write on the transactional id is. `no_group`: the cluster does not know the group. `no_live_member`: nobody
of it runs. `not_subscribed`: its members do not read their replay topic, as those of older releases.
`rebalancing`: they are being dealt their partitions, and which topics they read is not known until then.
`no_handler`: the group has no such handler. `target_not_allowed`: copies may go to replay topics of known
groups, and to topics under `topic_prefix`, alone. `target_unwritable`: Write on that topic is missing, or it
is. `more_than_shown`: more letters match than the dry run told. `not_here`: `memory://` of another process.
"""


class ReplayRefused(MessagingError):
    """An action on dead letters was not begun: nothing was written. Its text says what to do about it."""

    def __init__(self, reason: RefusalReason, text: str) -> None:
        self.reason: RefusalReason = reason
        super().__init__(text)


class ReplayFenced(MessagingError):
    """Another operator has begun to act on the same letters, and this action has stopped.

    What it had done is done, once each. To go on with the rest, see what the other one does (`jobs`), then
    run the same command again.
    """


class HandlerSignal(Exception):
    """What a handler may say by raising, beside failing."""


class Reject(HandlerSignal):
    """Bury this message in the dead letters now; trying again cannot help."""

    def __init__(self, reason: str = "rejected by the handler") -> None:
        self.reason = reason
        super().__init__(reason)


class Discard(HandlerSignal):
    """This message is done although nothing was done with it; it is counted, not buried."""

    def __init__(self, reason: str = "discarded by the handler") -> None:
        self.reason = reason
        super().__init__(reason)


class AlreadyHandled(Discard):
    """This message was handled before: its effects stand in the database, by an inbox. Counted apart."""

    def __init__(self) -> None:
        super().__init__("this message was handled before")


class RetryAfter(HandlerSignal):
    """Try this message again after `seconds` (0 to 300). It counts as an attempt."""

    def __init__(self, seconds: float, reason: str = "the handler asked to be called again") -> None:
        if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_RETRY_AFTER_SECONDS:
            raise ValueError(f"RetryAfter takes 0 to {MAX_RETRY_AFTER_SECONDS:g} seconds, not {seconds!r}")
        self.seconds = seconds
        self.reason = reason
        super().__init__(reason)


class BatchFailed(HandlerSignal):
    """Of this batch, the members before `index` are done; the rest is tried again."""

    def __init__(self, index: int, reason: str = "a member of the batch failed") -> None:
        if not isinstance(index, int) or index < 0:
            raise ValueError(f"BatchFailed takes the index of the first member that failed, not {index!r}")
        self.index = index
        self.reason = reason
        super().__init__(reason)


def _some(indexes: Mapping[int, object]) -> str:
    shown = ", ".join(str(index) for index in list(indexes)[:5])
    return f"{shown}, ..." if len(indexes) > 5 else shown or "none"
