"""What a failure means: try again and when, give up, or done. Decides; never acts.

The wait before try n + 1 is exponential back-off with subtractive jitter:
`min(cap, delay * multiplier ** (n - 1)) * (1 - jitter * random)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from convex_messaging_fastapi.errors import BatchFailed, ConfigurationError, DecodeError, Discard, Reject
from convex_messaging_fastapi.errors import RetryAfter as RetryAfterSignal
from convex_messaging_fastapi.policies import Retry


@dataclass(frozen=True, slots=True)
class TryAgain:
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Attempts are spent, or trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """The handler is done with it, on purpose."""


Decision = TryAgain | GiveUp | Discarded

NEVER_AGAIN = (DecodeError, Reject, ConfigurationError)
"""What is certain to fail the same way next time, whatever the policy includes."""


def decide(policy: Retry, failure: Exception, attempt: int, random: float) -> Decision:
    """What to do after try number `attempt` (the first is 1). `random` is 0 <= random < 1."""
    if isinstance(failure, Discard):
        return Discarded()
    if isinstance(failure, NEVER_AGAIN) or attempts_are_spent(policy, attempt):
        return GiveUp()
    if isinstance(failure, RetryAfterSignal):
        return TryAgain(failure.seconds)
    if isinstance(failure, BatchFailed) or is_retried(policy, failure):
        return TryAgain(backoff(policy, attempt, random))
    return GiveUp()


def is_retried(policy: Retry, failure: Exception) -> bool:
    return isinstance(failure, policy.only) and not isinstance(failure, policy.never)


def attempts_are_spent(policy: Retry, attempt: int) -> bool:
    return policy.attempts is not None and attempt >= policy.attempts


def backoff(policy: Retry, attempt: int, random: float) -> float:
    """Seconds to wait after try number `attempt`."""
    try:
        delay = policy.delay_seconds * float(policy.multiplier) ** (attempt - 1)
    except OverflowError:  # beyond any float is beyond the cap
        delay = policy.max_delay_seconds
    return min(policy.max_delay_seconds, delay) * (1 - policy.jitter * random)
