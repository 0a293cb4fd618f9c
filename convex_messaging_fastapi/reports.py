"""Every line of this package's log, one function or method an event; nothing else writes one.

All come from one logger, `convex_messaging_fastapi`. Each is one line: control characters of others are
escaped and texts are cut. A line about a message has its place and its ids as `extra`; no line holds a
payload or a secret. What a handler raised is told as it said it, unless `error_texts` is false.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from convex_messaging_fastapi.events import (
    Buried,
    ContactLost,
    ContactRegained,
    Observer,
    Rebalanced,
    Retried,
)
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.mentions import about, counted, key_named, listed, named, place, some
from convex_messaging_fastapi.messages.headers import MESSAGE_TYPE
from convex_messaging_fastapi.messages.validation_errors import MAX_NAME, one_line
from convex_messaging_fastapi.records import Record, TopicPartition, header_text

logger: logging.Logger = logging.getLogger("convex_messaging_fastapi")

MAX_LINE = 5000


class LogLines(Observer):
    """The first observer of every bus."""

    def retried(self, event: Retried) -> None:
        failure = event.failure
        who, kind = _fixed(failure.handler), _fixed(failure.exception_type)
        template = f"{who} failed on %s, attempt %s, again in %s s: {kind}: %s"
        args = named(event.record), failure.attempts, f"{event.delay_seconds:.1f}", failure.text
        _of_message(logging.WARNING, event.record, failure, template, *args)

    def buried(self, event: Buried) -> None:
        letter, tries = event.letter, event.failed_tries
        # A cluster may acknowledge without naming an offset.
        where = f"{letter.topic}/{letter.partition}" + (f"/{letter.offset}" if letter.offset >= 0 else "")
        after = f" (written after {tries} tries that failed)" if tries else ""
        _gave_up(event.record, event.failure, f"its dead letter is {where}{after}")

    def rebalanced(self, event: Rebalanced) -> None:
        group, gained, given_up = event.group, event.gained, event.given_up
        told = f"{counted(len(given_up), 'partition')}{listed(given_up)}"
        if event.is_lost:
            text = f"group {group} has lost {told}; what was not committed comes again"
            _say(logging.WARNING, text)
        elif given_up:
            at_work = f" ({counted(event.at_work, 'handler')} at work)" if event.at_work else ""
            _say(logging.INFO, f"group {group} gives up {told}{at_work}")
        else:
            holds = "holds" if event.is_first else "now holds"
            _say(logging.INFO, f"group {group} {holds} {counted(len(gained), 'partition')}{listed(gained)}")

    def contact_lost(self, event: ContactLost) -> None:
        what = "contact with Kafka at {} is lost" if event.had_contact else "Kafka at {} is not reached"
        _say(logging.WARNING, f"{what.format(event.cluster)}, trying again: {event.why}")

    def contact_regained(self, event: ContactRegained) -> None:
        lines = event.lines_held_back
        told = f"; {lines} lines of its client were held back meanwhile" if lines else ""
        text = f"Kafka at {event.cluster} is in contact after {event.seconds:.1f} s without{told}"
        _say(logging.WARNING, text)


def cannot_bury(record: Record, failure: Failure, error: Exception, delay_seconds: float) -> None:
    """The dead letter could not be written; nothing is lost, but the partition waits. Said once."""
    _gave_up(
        record,
        failure,
        f"the dead letter of {place(record)} could not be written, again in {delay_seconds:.1f} s, "
        f"and until it is the partition waits ({error})",
    )


def held(record: Record, failure: Failure) -> None:
    """The last attempt failed, and the handler's choice is to hold."""
    _gave_up(record, failure, "it is held and its partition waits")


def discarded(record: Record, failure: Failure) -> None:
    """The last attempt failed, and the handler's choice is to discard."""
    _gave_up(record, failure, "it is discarded")


def unhandled(record: Record, group: str) -> None:
    """Every handler of a group has passed over this record; said once a topic, and counted from then on."""
    kind = header_text(record.headers, MESSAGE_TYPE)
    shown = "" if kind is None else f", a {one_line(kind, MAX_NAME)}"
    _say(
        logging.WARNING,
        f"no handler of group {group} takes {named(record)}{shown}: their filters pass it over. Other "
        f"messages of topic {record.topic} that none takes are only counted: `unhandled` in the bus's status",
        extra=about(record) | {"group": group},
    )


class AtWork(NamedTuple):
    """A handler, or what it has begun, and the message that it is at work on."""

    handler: str
    group: str | None
    record: Record
    attempt: int | None

    def __str__(self) -> str:
        return f"{self.handler} on {named(self.record)}"

    @property
    def about(self) -> dict[str, Any]:
        mine = {"group": self.group, "handler": self.handler, "attempt": self.attempt}
        return about(self.record) | mine


def given_up(work: AtWork, seconds: float, *, runs: bool, left: bool) -> None:
    """A handler was not done in its time. The next owner of the partition handles the message again.

    Where the handler is taken away, and so none of its messages come to it again, it is `left`.
    """
    state = "goes on in its thread" if runs else "was cancelled"
    end = "is left" if left else "comes again"
    text = f"given up after {max(0.0, seconds):.3g} s: {work} {state}, and the message {end}"
    _say(logging.WARNING, text, extra=work.about)


def more_given_up(group: str, number: int) -> None:
    _say(logging.WARNING, f"group {group} gives up {counted(number, 'message')} more in the same way")


# -- the life of a bus ---------------------------------------------------------------------------


def bus_starts(cluster: str, groups: Mapping[str, Mapping[str, Collection[str]]]) -> None:
    """`groups` are the topics of each group's handlers."""
    _say(logging.INFO, f"the bus starts: {cluster}, {counted(len(groups), 'group')}")
    for group, handlers in groups.items():
        topics = sorted({topic for topics in handlers.values() for topic in topics})
        _say(logging.INFO, f"group {group} is to read {some(topics)} for {some(list(handlers))}")


def handler_joins(group: str, handler: str, topics: Collection[str]) -> None:
    """While the bus runs."""
    _say(logging.INFO, f"group {group} is to read {some(topics)} for {handler} from now on")


def handler_leaves(group: str, handler: str) -> None:
    """While the bus runs: it is handed nothing more."""
    _say(logging.INFO, f"group {group} takes {handler} away")


def draining(at_work: Sequence[AtWork], seconds: float) -> None:
    """The bus stops, and waits for these handlers."""
    if not at_work:
        _say(logging.INFO, "stopping: no handler is at work")
        return
    shown = [f"{work.handler} on {place(work.record)}" for work in at_work]
    count = counted(len(at_work), "handler")
    _say(logging.INFO, f"draining: {count} at work ({some(shown)}), at most {seconds:g} s")


def bus_stopped(seconds: float) -> None:
    _say(logging.INFO, f"the bus has stopped, after {seconds:.1f} s")


def step_was_late(what: str) -> None:
    _say(logging.ERROR, f"{what} was not done in time and is given up")


def stop_cancelled() -> None:
    _say(logging.ERROR, "the stop of the bus was cancelled: something of it may still run")


def settings(sentence: str, *, is_doubtful: bool) -> None:
    """Which file was read, or what about it may not be meant."""
    _say(logging.WARNING if is_doubtful else logging.INFO, sentence)


def default_group(group: str) -> None:
    """Subscribers run under the group that every service has that was given none."""
    _say(
        logging.WARNING,
        f"subscribers run under the default consumer group {group!r}: a second service that does so "
        "too would take a share of this one's messages, and each would miss what the other "
        "got. Set KAFKA_CONSUMER_GROUP to this service's name.",
    )


def never_started(handlers: Collection[str]) -> None:
    """The process ends, and nothing has started the bus of these handlers."""
    _say(
        logging.WARNING,
        f"no message has reached {some(handlers)}, for nothing has started their bus: where no "
        "error above says why, include its MessagingRouter in the app, or run it with `async with bus:`",
    )


def details_failed(error: Exception) -> None:
    """Its type alone: the text may repeat what the request brought."""
    _say(logging.ERROR, f"`details` of the probes failed, so none are shown: {type(error).__qualname__}")


def defect(what: str, error: BaseException, *, fatal: bool = False) -> None:
    """Something failed that must not, and is not the cluster's or the user's doing: with its traceback."""
    level = logging.CRITICAL if fatal else logging.ERROR
    _say(level, f"{what}: {error!r}", exc_info=error)


# -- the event loop ------------------------------------------------------------------------------


_NOBODY = "code outside of handlers"


def loop_blocked(work: AtWork | None, place: str, seconds: float, *, more: int | None) -> None:
    """The event loop has not answered for so long; said once a blockage.

    `more` is how often the same was kept back since it was told; `None` keeps this back, too.
    """
    advice = "let it await, use `await asyncio.to_thread(...)`, or make it a plain `def`"
    text = f"the event loop has stood still for {seconds:.1f} s, and all else waits, heartbeats included: "
    again = f" ({counted(more, 'time')} more since that was told)" if more else ""
    text += f"{work or _NOBODY} blocks it at {place}{again}; {advice}"
    _say(_quietly(logging.WARNING, more is None), text, extra=None if work is None else work.about)


def loop_goes_on(work: AtWork | None, seconds: float, *, is_known: bool) -> None:
    text = f"the event loop goes on: {work or _NOBODY} blocked it for {seconds:.1f} s"
    _say(_quietly(logging.WARNING, is_known), text, extra=None if work is None else work.about)


# -- a group -------------------------------------------------------------------------------------


def passed_over(group: str, counts: Mapping[TopicPartition, int], not_believed: int) -> None:
    """What an assignment does not hand out, since commits say that it is finished."""
    shown = some([f"{topic}/{n} {count}" for (topic, n), count in counts.items()]) or "none"
    _say(
        logging.INFO,
        f"group {group} passes over {sum(counts.values())} offsets above the committed ones, which its last "
        f"commits say are finished ({shown}); {not_believed} more that they name are not believed, for "
        "nobody can have finished them",
    )


def commits_fail(group: str, partitions: Collection[TopicPartition], reason: str) -> None:
    _say(
        logging.WARNING,
        f"group {group}: offsets of {counted(len(partitions), 'partition')} cannot be committed"
        f"{listed(partitions)}: {reason}; what is not committed is handled again by its next owner",
    )


def commits_work(group: str, partitions: Collection[TopicPartition], times: int, seconds: float) -> None:
    _say(
        logging.WARNING,
        f"group {group}: offsets of {counted(len(partitions), 'partition')} are committed again"
        f"{listed(partitions)}, after {seconds:.1f} s and {times} tries that failed",
    )


def topics_missing(group: str, topics: Collection[str], *, are_made: bool) -> None:
    """`are_made`: the settings ask for it, so that what keeps us from it is told elsewhere."""
    what = f"group {group} waits for {counted(len(topics), 'topic')} that the cluster does not have"
    remedy = "" if are_made else "; create what is missing, or set KAFKA_CREATE_TOPICS=true and start again"
    _say(logging.WARNING, f"{what}: {some(sorted(topics))}{remedy}")


def cannot_read(group: str, detail: str, *, is_known: bool) -> None:
    _say(_quietly(logging.ERROR, is_known), f"group {group} cannot read {detail}")


def records_lost(group: str, where: TopicPartition, sentence: str) -> None:
    _say(logging.ERROR, f"group {group}, {where.topic}/{where.partition}: {sentence}")


def group_complaint(group: str, detail: str, *, is_known: bool) -> None:
    _say(_quietly(logging.WARNING, is_known), f"group {group}: {detail}")


def session_over(group: str, seconds: float) -> None:
    _say(
        logging.WARNING,
        f"group {group} has not heard us for {seconds:.1f} s, a session: what we held may be another's",
    )


def header_mended(group: str, where: TopicPartition, offset: int, *, is_known: bool) -> None:
    """In what was fetched from `offset` on; told once a partition."""
    first = Record(*where, offset, -1, None, None)
    text = f"group {group}, {place(first)}: a header's name is no UTF-8 and is mended"
    _say(_quietly(logging.WARNING, is_known), text, extra=about(first) | {"group": group})


def metadata_refused(group: str, where: TopicPartition, characters: int) -> None:
    _say(
        logging.WARNING,
        f"group {group}, {where.topic}/{where.partition}: the broker refuses {characters} characters beside "
        "an offset; without them what is finished above it may be handled again by the next owner: raise "
        "offset.metadata.max.bytes",
    )


def not_known_yet(group: str, what: str, error: BaseException, *, is_known: bool) -> None:
    _say(_quietly(logging.WARNING, is_known), f"group {group} does not know yet {what}: {error}")


def instance_not_claimed(id: str, error: BaseException) -> None:
    _say(logging.WARNING, f"whether another process uses group_instance_id {id} is not known: {error}")


# -- the cluster ---------------------------------------------------------------------------------


def part_suffers(part: str, what: str, why: str) -> None:
    """The cluster answers, and yet one part of the bus does not get what it needs."""
    _say(logging.WARNING, f"{part} {what}, trying again: {why}")


def part_goes_on(part: str) -> None:
    _say(logging.WARNING, f"{part} goes on")


def engine_replaced(part: str, why: str, *, is_known: bool) -> None:
    _say(_quietly(logging.WARNING, is_known), f"{part} is replaced: {why}")


def topic_not_made(reason: str, again_seconds: float) -> None:
    _say(logging.WARNING, f"{reason}; trying again every {again_seconds:g} s")


def no_answer(question: str, why: object) -> None:
    """Of no use to anybody but who debugs this package."""
    _say(logging.DEBUG, f"{question} got no answer: {why}")


def _say(
    level: int,
    text: str,
    *args: object,
    extra: Mapping[str, Any] | None = None,
    exc_info: BaseException | None = None,
) -> None:
    if logger.isEnabledFor(level):
        shown = (one_line(str(arg), MAX_LINE) for arg in args)
        logger.log(level, one_line(text, MAX_LINE), *shown, extra=extra, exc_info=exc_info)


def _of_message(level: int, record: Record, failure: Failure, template: str, *args: object) -> None:
    """The template holds the handler and the type: by it collectors of errors tell one kind from another."""
    mine = {
        "group": failure.group,
        "handler": failure.handler,
        "attempt": failure.attempts,
        "exception_type": failure.exception_type,
    }
    _say(level, template, *args, extra=about(record) | mine)


def _fixed(text: str | None) -> str:
    return (text or "").replace("%", "%%")


def _gave_up(record: Record, failure: Failure, end: str) -> None:
    """What ends with an error: who, on what, and what becomes of it. Of a batch nobody was given anything."""
    lines = [line.strip() for line in failure.stack.splitlines()]
    told = " | ".join(lines) or f"{failure.exception_type}: {failure.text}"
    if failure.handler is None:
        template = f"group {_fixed(failure.group)} gave up reading %s to %s after %s tries, %s: %s"
        args: tuple[object, ...] = place(record), failure.last_offset, failure.attempts, end, told
    else:
        who, kind = _fixed(failure.handler), failure.exception_type
        template = f"{who} gave up on %s with %s after attempt %s, %s: {_fixed(kind)}: %s"
        told = told.removeprefix(kind).removeprefix(": ").removeprefix(" | ")
        args = named(record), key_named(record.key), failure.attempts, end, told
    _of_message(logging.ERROR, record, failure, template, *args)


def _quietly(level: int, is_known: bool) -> int:
    """What was said already is there for whoever debugs."""
    return logging.DEBUG if is_known else level
