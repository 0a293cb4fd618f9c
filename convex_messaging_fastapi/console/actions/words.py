"""The filter of an action in words, and what a dry run has found."""

from __future__ import annotations

from collections.abc import Iterator

from convex_messaging_fastapi.console.forms import Fields, fields_of
from convex_messaging_fastapi.console.security import Refused
from convex_messaging_fastapi.console.wording import NOT_REPLAYED
from convex_messaging_fastapi.operations import Filter, Job

_MOST_NAMED = 20


def in_words(wanted: Filter) -> str:
    """Which letters are meant."""
    said = [f"{name} = {_several(values)}" for name, values in fields_of(wanted).items()]
    return "; ".join(said) if said else "all that are open"


def left_by(job: Job) -> list[tuple[int, str]]:
    return [(count, NOT_REPLAYED.get(why, why)) for why, count in job.refused.items()]


def facts_of(wanted: Filter, job: Job) -> Iterator[tuple[str, str]]:
    yield "Letters", in_words(wanted)
    if job.groups:
        yield "Of groups", ", ".join(job.groups)
    if job.topics:
        yield "Copies go to", ", ".join(job.topics)
    if job.seen_by:
        yield "Seen again by", ", ".join(job.seen_by)


def letters(count: int) -> str:
    return "1 letter" if count == 1 else f"{count:,} letters"


def required(fields: Fields, name: str) -> str:
    """Raises `Refused` where a page of ours did not make this form."""
    values = [value for value in fields.get(name, ()) if value.strip()]
    if not values:
        raise Refused(400, f"The form has no {name}.", "Go back to the page, and begin again.")
    return values[-1]


def _several(values: tuple[str, ...]) -> str:
    more = len(values) - _MOST_NAMED
    return ", ".join(values[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
