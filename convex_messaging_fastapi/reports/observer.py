"""The log as the first observer of every bus: a line for each rare event."""

from __future__ import annotations

import logging

from convex_messaging_fastapi.events import (
    BreakerClosed,
    BreakerOpened,
    Buried,
    ContactLost,
    ContactRegained,
    Observer,
    Rebalanced,
    Retried,
)
from convex_messaging_fastapi.reports import messages
from convex_messaging_fastapi.reports.lines import say
from convex_messaging_fastapi.reports.mentions import counted, listed


class LogLines(Observer):
    """Hears what every observer may hear. Lines without an event are the functions of this package."""

    def retried(self, event: Retried) -> None:
        messages.retried(event)

    def buried(self, event: Buried) -> None:
        messages.buried(event)

    def rebalanced(self, event: Rebalanced) -> None:
        group, gained, given_up = event.group, event.gained, event.given_up
        told = f"{counted(len(given_up), 'partition')}{listed(given_up)}"
        if event.is_lost:
            say(logging.WARNING, f"group {group} has lost {told}; what was not committed comes again")
        elif given_up:
            at_work = f" ({counted(event.at_work, 'handler')} at work)" if event.at_work else ""
            say(logging.INFO, f"group {group} gives up {told}{at_work}")
        else:
            holds = "holds" if event.is_first else "now holds"
            say(logging.INFO, f"group {group} {holds} {counted(len(gained), 'partition')}{listed(gained)}")

    def contact_lost(self, event: ContactLost) -> None:
        what = "contact with Kafka at {} is lost" if event.had_contact else "Kafka at {} is not reached"
        say(logging.WARNING, f"{what.format(event.cluster)}, trying again: {event.why}")

    def contact_regained(self, event: ContactRegained) -> None:
        lines = event.lines_held_back
        told = f"; {lines} lines of its client were held back meanwhile" if lines else ""
        say(
            logging.WARNING,
            f"Kafka at {event.cluster} is in contact after {event.seconds:.1f} s without{told}",
        )

    def breaker_opened(self, event: BreakerOpened) -> None:
        kind, wait = event.exception_type, event.wait_seconds
        text = f"the breaker of {event.handler} opens: its messages fail ({kind}), one is tried in {wait:g} s"
        about = {"group": event.group, "handler": event.handler, "exception_type": kind}
        say(logging.WARNING, text, extra=about)

    def breaker_closed(self, event: BreakerClosed) -> None:
        text = f"the breaker of {event.handler} closes after {event.seconds:.1f} s, and it goes on"
        say(logging.WARNING, text, extra={"group": event.group, "handler": event.handler})
