"""With what code a command ends, and why: the one place that says so."""

from __future__ import annotations

from enum import IntEnum

from convex_messaging_fastapi.errors import (
    ConfigurationError,
    EncodeError,
    LetterNotFound,
    MessagingError,
    PublishFailed,
    ReplayRefused,
    TransportError,
)


class ExitCode(IntEnum):
    OK = 0
    WRONG = 1
    """What was asked about was looked at, and is not as it should be; or this package has a defect."""
    USAGE = 2
    """The command, the app or the settings must be changed first."""
    AWAY = 3
    """No broker answers in time, or somebody else has taken the work over."""
    REFUSED = 4
    """The cluster, or a rule of ours, does not allow it."""
    NOT_FOUND = 5
    """There is no such topic, group, letter or job."""
    INTERRUPTED = 130


class Ended(Exception):
    """A command ends with this code; its text, where there is one, says what to do."""

    def __init__(self, code: ExitCode, sentence: str = "") -> None:
        self.code = code
        super().__init__(sentence)


_REFUSALS = ("auth_failed", "tls_failed", "not_authorized", "group_refused")


def code_of(error: BaseException) -> ExitCode:
    """The code of a command that ends with `error`."""
    match error:
        case Ended():
            return error.code
        case ConfigurationError() | EncodeError():
            return ExitCode.USAGE
        case LetterNotFound():
            return ExitCode.NOT_FOUND
        case TransportError() | ReplayRefused() if (found := _transport_error(error)) is not None:
            return _code_of_problem(found.problem)
        case ReplayRefused():
            return ExitCode.REFUSED
        case PublishFailed():
            return ExitCode.AWAY if error.may_retry else ExitCode.REFUSED
        case MessagingError():
            return ExitCode.AWAY
    return ExitCode.WRONG


def _transport_error(error: BaseException) -> TransportError | None:
    """The first of an error and its causes that has a word for what the cluster said, or else the last."""
    found = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TransportError):
            found = cause
            if cause.problem:
                break
        cause = cause.__cause__
    return found


def _code_of_problem(problem: str) -> ExitCode:
    if problem == "topic_missing":
        return ExitCode.NOT_FOUND
    return ExitCode.REFUSED if problem in _REFUSALS else ExitCode.AWAY
