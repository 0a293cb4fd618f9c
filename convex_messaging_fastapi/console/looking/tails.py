"""The newest messages of one of the app's topics."""

from __future__ import annotations

from typing import NamedTuple

from convex_messaging_fastapi.asyncapi.describing import settings_of
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.inert import carried
from convex_messaging_fastapi.console.looking.contents import text_of
from convex_messaging_fastapi.console.security import Refused
from convex_messaging_fastapi.messages.topics import dead_letter_topic, topic_on_wire
from convex_messaging_fastapi.operations import Tail, TailedRecord
from convex_messaging_fastapi.records import utc

SHOWN_CHARACTERS = 1024


class Row(NamedTuple):
    """One message as a line."""

    place: str
    at: str
    key: str | None
    value: str | None
    size: int
    cut: bool


async def tail_of(desk: Desk, topic: str, after: str | None, limit: int, seconds: float) -> Tail:
    """Raises `Refused` for a topic that is none of this app's."""
    if topic not in topics_of(desk):
        raise Refused(404, "That is none of this app's topics.", "Choose one of those that the page offers.")
    return await desk.asked(desk.operations.tail(topic, after=after, limit=limit), seconds)


def topics_of(desk: Desk) -> list[str]:
    """On the wire: those that this app reads, and says it publishes to, and its dead letters."""
    with desk.refusing():
        prefix = settings_of(desk.bus).topic_prefix
        read = {topic for worker in desk.bus.status().workers for topic in worker.topics}
        published = {topic_on_wire(prefix, each.topic) for each in desk.bus._declarations.publications}
        letters = dead_letter_topic(prefix)
        return [*sorted((read | published) - {letters}), letters]


def row_of(record: TailedRecord) -> Row:
    value = None if record.value is None else carried(text_of(record.value))
    return Row(
        f"{record.partition}/{record.offset}",
        utc(record.timestamp_ms).isoformat(timespec="milliseconds") if record.timestamp_ms >= 0 else "",
        None if record.key is None else carried(text_of(record.key))[:SHOWN_CHARACTERS],
        None if value is None else value[:SHOWN_CHARACTERS],
        record.size,
        value is not None and (len(value) > SHOWN_CHARACTERS or record.size > len(record.value or b"")),
    )
