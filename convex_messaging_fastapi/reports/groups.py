"""What the log says of groups, topics and the cluster: what is read and committed, and what prevents it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.reports.lines import quietly, say
from convex_messaging_fastapi.reports.mentions import about, counted, listed, place, some


def passed_over(group: str, counts: Mapping[TopicPartition, int], not_believed: int) -> None:
    """An assignment skips offsets that the commits of an earlier owner name as finished."""
    shown = some([f"{topic}/{n} {count}" for (topic, n), count in counts.items()]) or "none"
    doubt = f"; it handles {not_believed} more that they name, for nobody can have finished those"
    say(
        logging.INFO,
        f"group {group} passes over {sum(counts.values())} offsets that its last commits name as finished "
        f"({shown}){doubt if not_believed else ''}",
    )


def commits_fail(group: str, partitions: Collection[TopicPartition], reason: str) -> None:
    say(
        logging.WARNING,
        f"group {group}: offsets of {counted(len(partitions), 'partition')} cannot be committed"
        f"{listed(partitions)}: {reason}; what is not committed is handled again by its next owner",
    )


def commits_work(group: str, partitions: Collection[TopicPartition], times: int, seconds: float) -> None:
    """`times` commits in a row had failed, for `seconds` in all."""
    say(
        logging.WARNING,
        f"group {group}: offsets of {counted(len(partitions), 'partition')} are committed again"
        f"{listed(partitions)}, after {seconds:.1f} s and {times} tries that failed",
    )


def topics_missing(group: str, topics: Collection[str], *, are_made: bool) -> None:
    """`are_made`: the settings say that we create topics, so another line tells why we could not."""
    what = f"group {group} waits for {counted(len(topics), 'topic')} that the cluster does not have"
    remedy = "" if are_made else "; create what is missing, or set KAFKA_CREATE_TOPICS=true and start again"
    say(logging.WARNING, f"{what}: {some(sorted(topics))}{remedy}")


def cannot_read(group: str, detail: str, *, is_known: bool) -> None:
    say(quietly(logging.ERROR, is_known), f"group {group} cannot read {detail}")


def records_lost(group: str, where: TopicPartition, sentence: str) -> None:
    say(logging.ERROR, f"group {group}, {where.topic}/{where.partition}: {sentence}")


def group_complaint(group: str, detail: str, *, is_known: bool) -> None:
    say(quietly(logging.WARNING, is_known), f"group {group}: {detail}")


def session_over(group: str, seconds: float) -> None:
    """The coordinator has answered no heartbeat for a session."""
    say(
        logging.WARNING,
        f"group {group} has not heard from this process for {seconds:.1f} s, which is its session: another "
        "member may have its partitions by now, so it lets go of them",
    )


def header_mended(group: str, where: TopicPartition, offset: int, *, is_known: bool) -> None:
    """One of the records fetched from `offset` on has such a header; told once a partition."""
    first = Record(*where, offset, -1, None, None)
    text = f"group {group}, {place(first)}: a header's name is not UTF-8 and is mended"
    say(quietly(logging.WARNING, is_known), text, extra=about(first) | {"group": group})


def metadata_refused(group: str, where: TopicPartition, characters: int) -> None:
    """The broker takes an offset, but not the metadata that names what is finished above it."""
    say(
        logging.WARNING,
        f"group {group}, {where.topic}/{where.partition}: the broker refuses a commit with {characters} "
        "characters of metadata. Without them the next owner may handle again what is finished above the "
        "committed offset: raise offset.metadata.max.bytes",
    )


def not_known_yet(group: str, what: str, error: BaseException, *, is_known: bool) -> None:
    say(quietly(logging.WARNING, is_known), f"group {group} does not know yet {what}: {error}")


def instance_not_claimed(id: str, error: BaseException) -> None:
    say(
        logging.WARNING,
        f"it is not known whether another process uses group_instance_id {id}: {error}",
    )


def part_suffers(part: str, what: str, why: str) -> None:
    """The cluster answers, and yet a part of the bus, its producer or a group, does not get what it needs."""
    say(logging.WARNING, f"{part} {what}, trying again: {why}")


def part_goes_on(part: str) -> None:
    say(logging.WARNING, f"{part} goes on")


def engine_replaced(part: str, why: str, *, is_known: bool) -> None:
    """The aiokafka client of this part is closed, and another takes its place."""
    say(quietly(logging.WARNING, is_known), f"{part} is replaced: {why}")


def topic_not_made(reason: str, again_seconds: float) -> None:
    say(logging.WARNING, f"{reason}; trying again every {again_seconds:g} s")


def no_answer(question: str, why: object) -> None:
    """For whoever debugs this package; nobody else can use it."""
    say(logging.DEBUG, f"{question} got no answer: {why}")


def pauses_not_known(topic: str, reason: str, *, is_known: bool) -> None:
    """What operators paused for the whole fleet cannot be read: handlers run as if nothing were."""
    say(
        quietly(logging.WARNING, is_known),
        f"whether anything is paused is not known, and handlers go on: {topic} was not read: {reason}",
    )


def paused(group: str, handler: str, by: str, reason: str | None) -> None:
    why = "" if reason is None else f": {reason}"
    say(logging.WARNING, f"group {group}: {handler} begins nothing new, for {by} has paused it{why}")


def resumed(group: str, handler: str) -> None:
    say(logging.WARNING, f"group {group}: {handler} goes on after its pause")
