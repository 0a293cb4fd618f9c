"""Says in the log what becomes of a message that failed: where it is, why, and what happens next.

Texts come from a `Failure`. What this package says in them repeats no payload; what a handler raised is told
as the handler said it, cut and made printable, unless `error_texts` is false.
"""

from __future__ import annotations

import logging

from convex_messaging_fastapi.consuming.dead_letters import Failure
from convex_messaging_fastapi.policies import DeadLetterPolicy
from convex_messaging_fastapi.records import Record

logger = logging.getLogger(__name__)

_ENDS: dict[DeadLetterPolicy, str] = {
    "bury": "it goes to the dead letters",
    "hold": "it is held and its partition waits",
    "discard": "it is discarded",
}


def report_retry(record: Record, failure: Failure, delay_seconds: float) -> None:
    """One attempt failed; another follows."""
    logger.warning(
        "%s failed on %s, attempt %d, again in %.1f s: %s: %s",
        failure.handler,
        _place(record),
        failure.attempts,
        delay_seconds,
        failure.exception_type,
        failure.text,
    )


def report_end(record: Record, failure: Failure, policy: DeadLetterPolicy) -> None:
    """The last attempt failed. The stack tells where, the newest frame first."""
    logger.error(
        "%s gave up on %s after attempt %d, %s: %s",
        failure.handler,
        _place(record),
        failure.attempts,
        _ENDS[policy],
        failure.stack,
    )


def report_unreadable(record: Record, failure: Failure) -> None:
    """A batch was given up: nobody is handed any of it."""
    logger.error(
        "group %s gave up reading %s to %s after %d tries, a dead letter that points there is written: %s",
        failure.group,
        _place(record),
        failure.last_offset,
        failure.attempts,
        failure.text,
    )


def report_no_burial(record: Record, error: Exception, delay_seconds: float) -> None:
    """The dead letter could not be written; nothing is lost, but the partition waits."""
    logger.warning(
        "the dead letter of %s could not be written, again in %.1f s: %s",
        _place(record),
        delay_seconds,
        error,
    )


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
