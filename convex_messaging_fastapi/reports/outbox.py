"""Lines about the outbox: its database, topics that are held, rows that are set aside, lanes."""

from __future__ import annotations

import logging

from convex_messaging_fastapi.reports.lines import say


def outbox_begins(lanes: int, relays: int) -> None:
    say(logging.INFO, f"the relay of the outbox begins with {lanes} lanes, as one of {relays} relays")


def outbox_refused(reason: str) -> None:
    say(logging.ERROR, f"the relay of the outbox does not start, and publishes nothing: {reason}")


def outbox_database_lost(problem: str) -> None:
    say(logging.WARNING, f"the database of the outbox does not answer, trying again: {problem}")


def outbox_database_regained(seconds: float) -> None:
    say(logging.WARNING, f"the database of the outbox answers after {seconds:.1f} s without")


def outbox_holds(topic: str, error: str) -> None:
    about = {"topic": topic}
    say(logging.WARNING, f"the outbox holds its messages for topic {topic}: {error}", extra=about)


def outbox_opens(topic: str) -> None:
    about = {"topic": topic}
    say(logging.WARNING, f"the outbox publishes its messages for topic {topic} again", extra=about)


def outbox_parks(topic: str, rows: int, error: str) -> None:
    about = {"topic": topic}
    text = f"the outbox sets {rows} messages for topic {topic} aside until somebody looks at them: {error}"
    say(logging.ERROR, text, extra=about)


def outbox_hears_nothing(seconds: float) -> None:
    text = (
        f"the relay of the outbox heard no echo of its own NOTIFY within {seconds:g} s, so it asks every "
        "100 ms; give it a `listen_dsn` that leads to PostgreSQL itself, without a pooler"
    )
    say(logging.WARNING, text)


def outbox_late(rows: int) -> None:
    text = f"the relay of the outbox stops before {rows} messages are settled: they may be published again"
    say(logging.WARNING, text)
