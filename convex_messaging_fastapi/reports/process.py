"""What the log says of this process: the life of its bus, its settings, its event loop, and defects."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from convex_messaging_fastapi.reports.lines import quietly, say
from convex_messaging_fastapi.reports.mentions import counted, place, some
from convex_messaging_fastapi.reports.messages import AtWork


def bus_starts(cluster: str, groups: Mapping[str, Mapping[str, Collection[str]]]) -> None:
    """`groups` has the handlers of each group, and the topics of each handler."""
    say(logging.INFO, f"the bus starts: {cluster}, {counted(len(groups), 'group')}")
    for group, handlers in groups.items():
        topics = sorted({topic for topics in handlers.values() for topic in topics})
        say(logging.INFO, f"group {group} is to read {some(topics)} for {some(list(handlers))}")


def no_opentelemetry() -> None:
    """A bus has the observer, and nothing is set up that would hear of it. Said once an observer."""
    say(logging.INFO, "no SDK of OpenTelemetry is set up, so the bus makes neither spans nor metrics for it")


def handler_joins(group: str, handler: str, topics: Collection[str]) -> None:
    """A handler was added while the bus runs."""
    say(logging.INFO, f"group {group} is to read {some(topics)} for {handler} from now on")


def handler_leaves(group: str, handler: str) -> None:
    """A handler is taken away while the bus runs; it gets no further message."""
    say(logging.INFO, f"group {group} hands nothing more to {handler}")


def draining(at_work: Sequence[AtWork], seconds: float) -> None:
    """The bus stops, and waits at most `seconds` for these handlers."""
    if not at_work:
        say(logging.INFO, "stopping: no handler is at work")
        return
    shown = [f"{work.handler} on {place(work.record)}" for work in at_work]
    count = counted(len(at_work), "handler")
    say(logging.INFO, f"draining: {count} at work ({some(shown)}), at most {seconds:g} s")


def bus_stopped(seconds: float) -> None:
    say(logging.INFO, f"the bus has stopped, after {seconds:.1f} s")


def step_was_late(what: str) -> None:
    """A step of the stop was not done when its share of the time was over."""
    say(logging.ERROR, f"{what} was not done in time and is given up")


def stop_cancelled() -> None:
    say(logging.ERROR, "the stop of the bus was cancelled: something of it may still run")


def settings(sentence: str, *, is_doubtful: bool) -> None:
    """Which file was read; or, where it `is_doubtful`, a setting that may be a mistake."""
    say(logging.WARNING if is_doubtful else logging.INFO, sentence)


def default_group(group: str) -> None:
    """Subscribers run under the default group, which every service has that sets none."""
    say(
        logging.WARNING,
        f"subscribers run under the default consumer group {group!r}: a second service that does so "
        "too would take a share of this one's messages, and each would miss what the other "
        "got. Set KAFKA_CONSUMER_GROUP to this service's name.",
    )


def never_started(handlers: Collection[str]) -> None:
    """The process ends, and nothing has started the bus of these handlers."""
    say(
        logging.WARNING,
        f"no message has reached {some(handlers)}, for nothing has started their bus: where no "
        "error above says why, include its MessagingRouter in the app, or run it with `async with bus:`",
    )


def details_failed(error: Exception) -> None:
    """Names the type alone: the text of the error may repeat what the request brought."""
    say(logging.ERROR, f"`details` of the probes failed, so none are shown: {type(error).__qualname__}")


def defect(what: str, error: BaseException, *, fatal: bool = False) -> None:
    """A fault of this package, not of the cluster or the user's code: with its traceback."""
    level = logging.CRITICAL if fatal else logging.ERROR
    say(level, f"{what}: {error!r}", exc_info=error)


_NOBODY = "code outside of handlers"


def loop_blocked(work: AtWork | None, place: str, seconds: float, *, more: int | None) -> None:
    """The event loop has not run for `seconds`; said once a blockage.

    `more` is how many blockages of the same kind were kept back since the last line; `None` keeps this
    one back, too.
    """
    advice = "let it await, use `await asyncio.to_thread(...)`, or make it a plain `def`"
    text = f"the event loop has stood still for {seconds:.1f} s, and all else waits, heartbeats included: "
    again = f" ({counted(more, 'time')} more since that was told)" if more else ""
    text += f"{work or _NOBODY} blocks it at {place}{again}; {advice}"
    say(quietly(logging.WARNING, more is None), text, extra=None if work is None else work.about)


def loop_goes_on(work: AtWork | None, seconds: float, *, is_known: bool) -> None:
    text = f"the event loop goes on: {work or _NOBODY} blocked it for {seconds:.1f} s"
    say(quietly(logging.WARNING, is_known), text, extra=None if work is None else work.about)


def inbox_not_cleaned(error: Exception) -> None:
    """Old rows of an inbox could not be deleted. Messages are handled all the same; the table grows."""
    say(
        logging.WARNING,
        "old rows of the inbox are not deleted, so its table grows until that works again: %s",
        f"{type(error).__name__}: {error}",
    )
