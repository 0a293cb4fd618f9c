"""What an error of the bus means for whoever asked: a status code, a sentence, and what to do."""

from __future__ import annotations

from convex_messaging_fastapi.console.security import Refused
from convex_messaging_fastapi.console.wording import REASONS
from convex_messaging_fastapi.errors import (
    BusStateError,
    ConfigurationError,
    LetterNotFound,
    MessagingError,
    ReplayFenced,
    ReplayRefused,
    TopicUnavailable,
    TransportError,
)
from convex_messaging_fastapi.status import BusStatus, Phase
from convex_messaging_fastapi.verdicts import ready

_NOT_RUNNING = {
    Phase.NEW: "not_started",
    Phase.STARTING: "starting",
    Phase.DRAINING: "draining",
    Phase.STOPPED: "stopped",
}


class Away(Refused):
    """The cluster does not answer, or the bus does not run; `reason` is a word of the closed list."""

    def __init__(self, reason: str, detail: str = "") -> None:
        said = REASONS[reason]
        super().__init__(503, said.means, f"{said.do} {detail}".strip(), retry_after=5)
        self.reason = reason


class TakesLong(Refused):
    """What was asked for is not there yet: it `goes_on`, or was given up."""

    def __init__(self, *, goes_on: bool) -> None:
        title = "Dead letters are still being read." if goes_on else "This takes longer than a page waits."
        help = (
            "Reload the page in a few seconds: the reading goes on meanwhile."
            if goes_on
            else "Mean fewer by a filter, or use the command line, which waits as long as it takes."
        )
        super().__init__(429, title, help, retry_after=2)


ERRORS = (MessagingError, LookupError)
"""What operations raise for an answer: anything else is a fault of ours."""


def told(error: Exception, status: BusStatus) -> Refused:
    """With the error's own text, which may name hosts and topics: whoever is let in may know them."""
    match error:
        case LetterNotFound():
            return Refused(404, "There is no such dead letter.", str(error))
        case ReplayFenced():
            return Refused(409, "Somebody else has taken it over.", str(error))
        case ReplayRefused():
            return Refused(409, "It was refused, and nothing was done.", str(error))
        case BusStateError():
            return Away(_NOT_RUNNING.get(status.phase, "not_started"))
        case TopicUnavailable():
            return Refused(
                404, "There is no such topic yet.", "It is made with the first message, or by hand."
            )
        case TransportError():
            return Away(contact_lost(status) or "broker_unreachable", str(error))
        case ConfigurationError():
            return Refused(400, "That cannot be meant.", str(error))
        case LookupError():
            return Refused(404, "There is no such thing.", str(error.args[0]) if error.args else "")
    return Refused(409, "It was refused.", str(error))


def too_long(status: BusStatus, *, goes_on: bool) -> Refused:
    """No answer in time: of a cluster that is away, or of much that is to be read."""
    if (reason := contact_lost(status)) is not None:
        return Away(reason)
    return TakesLong(goes_on=goes_on)


def contact_lost(status: BusStatus) -> str | None:
    """The worst reason, where the bus has no contact."""
    verdict = ready(status)
    return verdict.reasons[0] if not verdict.ok and verdict.reasons else None
