"""What a failure means: try again and when, give up, or done. Decides; never acts.

The wait before try n + 1 is exponential back-off with subtractive jitter:
`min(cap, delay * multiplier ** (n - 1)) * (1 - jitter * random)`.

An exception group is judged by its leaves, however deep they lie: by its errors, where it has any,
else by what its signals ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from convex_messaging_fastapi.errors import (
    AlreadyHandled,
    AttemptTimedOut,
    BatchFailed,
    ConfigurationError,
    DecodeError,
    Discard,
    HandlerSignal,
    Reject,
)
from convex_messaging_fastapi.errors import RetryAfter as RetryAfterSignal
from convex_messaging_fastapi.events import AttemptOutcome
from convex_messaging_fastapi.failures import leaves
from convex_messaging_fastapi.policies import Retry


@dataclass(frozen=True, slots=True)
class TryAgain:
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Attempts are spent, or trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """The handler is done with it, on purpose; with a `repeat` it was handled before."""

    repeat: bool = False


Decision = TryAgain | GiveUp | Discarded

NEVER_AGAIN = (DecodeError, Reject, ConfigurationError)
"""Failures that are certain to repeat, whatever the policy includes."""

SIGNALS = (Reject, RetryAfterSignal, BatchFailed, Discard)
"""Which of several signals decides: the first is the one that keeps the message safest."""


def decide(policy: Retry, failure: BaseException, attempt: int, random: float) -> Decision:
    """What to do after try number `attempt` (the first is 1). `random` is 0 <= random < 1."""
    deciding = what_decides(failure)
    first = deciding[0]
    if isinstance(first, Discard):
        return Discarded(isinstance(first, AlreadyHandled))
    if attempts_are_spent(policy, attempt) or not _may_help(policy, deciding):
        return GiveUp()
    if isinstance(first, RetryAfterSignal):
        return TryAgain(max(each.seconds for each in deciding if isinstance(each, RetryAfterSignal)))
    return TryAgain(backoff(policy, attempt, random))


def may_be_retried(policy: Retry, failure: BaseException) -> bool:
    """Whether another try could help, however many there were before."""
    return _may_help(policy, what_decides(failure))


def _may_help(policy: Retry, deciding: Sequence[BaseException]) -> bool:
    if any(isinstance(each, (*NEVER_AGAIN, Discard)) for each in deciding):
        return False
    return isinstance(deciding[0], RetryAfterSignal | BatchFailed) or is_retried(policy, deciding)


def what_decides(failure: BaseException) -> Sequence[BaseException]:
    """The errors among the leaves of a failure; if there are only signals, all those of the first kind."""
    if not isinstance(failure, BaseExceptionGroup):
        return (failure,)
    found = leaves(failure)
    errors = [leaf for leaf in found if not isinstance(leaf, HandlerSignal)]
    if errors:
        return errors
    for kind in SIGNALS:
        if signals := [leaf for leaf in found if isinstance(leaf, kind)]:
            return signals
    return found  # signals of a class that is not ours: as any error


def outcome_of(failure: BaseException) -> AttemptOutcome:
    """What observers are told of an attempt that ended with `failure`."""
    match what_decides(failure)[0]:
        case AlreadyHandled():
            return "already_handled"
        case Discard():
            return "discarded"
        case Reject():
            return "rejected"
        case AttemptTimedOut():
            return "timed_out"
    return "failed"


def members_done(failure: BaseException) -> int:
    """How many leading members of a batch are done: only a single `BatchFailed` says that any are."""
    match leaves(failure):
        case [BatchFailed() as signal]:
            return signal.index
    return 0


def is_retried(policy: Retry, errors: Iterable[BaseException]) -> bool:
    return all(is_one_of(each, policy.only) and not is_one_of(each, policy.never) for each in errors)


def is_one_of(error: BaseException, kinds: tuple[type[Exception], ...]) -> bool:
    """As `isinstance`, but a bare `BaseException`, as of a panic in Rust, counts as an `Exception`."""
    return isinstance(error, kinds) or (Exception in kinds and not isinstance(error, Exception))


def attempts_are_spent(policy: Retry, attempt: int) -> bool:
    return policy.attempts is not None and attempt >= policy.attempts


def backoff(policy: Retry, attempt: int, random: float) -> float:
    """Seconds to wait after try number `attempt`."""
    try:
        delay = policy.delay_seconds * float(policy.multiplier) ** (attempt - 1)
    except OverflowError:  # beyond any float is beyond the cap
        delay = policy.max_delay_seconds
    return min(policy.max_delay_seconds, delay) * (1 - policy.jitter * random)
