"""Why bytes are no message, told without repeating any of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any, cast, get_args

from pydantic import ValidationError
from pydantic_core import core_schema

from convex_messaging_fastapi.messages.coercion import NOT_BASE64

MAX_PROBLEMS = 5
MAX_COUNTED = 1000
MAX_LENGTH = 1000
MAX_INDEX = 1_000_000

_OF_VALIDATORS = frozenset({"value_error", "assertion_error"})
_OF_EXCEPTIONS = frozenset(
    {"get_attribute_error", "iteration_error", "mapping_type", "import_error", "datetime_object_invalid"}
)
_REPEATING = frozenset({"union_tag_invalid", "uuid_parsing", "bytes_invalid_encoding"})
_KNOWN = frozenset(get_args(core_schema.ErrorType)) - _OF_VALIDATORS - _OF_EXCEPTIONS - _REPEATING
"""Kinds of error whose sentence is pydantic's own, and holds nothing of what was sent.

A validator's sentence may hold the value in any form: without its blanks, in capitals, half of it. No look at
the two can tell, so no such sentence is told, whatever it says.
"""

_OURS: Mapping[str, str] = {NOT_BASE64: "Input should be bytes in standard base64"}
"""Kinds of error of our own. Their sentence stands here: a validator may give it another."""

_KIND = re.compile(r"[a-z_]{1,60}")
_NO_TAGS: Mapping[str, str] = {}


def validation_text(
    error: ValidationError, names: Set[str] = frozenset(), tags: Mapping[str, str] = _NO_TAGS
) -> str:
    """One line: where and why, five problems at most.

    Of the places only numbers and `names` are told: any other key is the payload's own. Of what a
    model's validators say only the kind is told. `tags` has the known tags of unions as they are told,
    by what pydantic calls them.
    """
    if error.error_count() > MAX_COUNTED:  # a megabyte can hold a million, and listing them takes seconds
        return f"{error.error_count()} problems"
    problems = error.errors(include_url=False, include_input=False)
    told = [_problem(cast("Mapping[str, Any]", problem), names, tags) for problem in problems[:MAX_PROBLEMS]]
    if (more := len(problems) - MAX_PROBLEMS) > 0:
        told.append(f"and {more} more")
    return one_line("; ".join(told), MAX_LENGTH)


MAX_NAME = 256
"""Characters that are told of a name or an id."""


def short(value: bytes | None) -> str | None:
    """What is told of a header's value."""
    # Cut as bytes first: a megabyte need not be read for 256 characters of it, and one that shows more came.
    return None if value is None else one_line(value[: 4 * MAX_NAME + 4].decode("utf-8", "replace"), MAX_NAME)


def one_line(text: str, limit: int) -> str:
    """`text` without what could forge a line or steer a terminal, cut to `limit` characters."""
    shown = "".join(map(printable, text[:limit]))
    return shown if len(shown) <= limit and len(text) <= limit else f"{shown[:limit]}..."


def printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _problem(problem: Mapping[str, Any], names: Set[str], tags: Mapping[str, str]) -> str:
    place = ".".join(_place(part, names) for part in problem["loc"])
    return f"{place}: {_reason(problem, tags)}" if place else _reason(problem, tags)


def _place(part: int | str, names: Set[str]) -> str:
    is_index = (
        isinstance(part, int) and part < MAX_INDEX
    )  # else it is a key, of a dict that has numbers for keys
    return str(part) if is_index or part in names else "?"


def _reason(problem: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    kind = problem["type"]
    if kind in _KNOWN:
        return str(problem["msg"])
    if kind in _OURS:
        return _OURS[kind]
    if kind == "union_tag_invalid":
        known = tags.get(str(problem.get("ctx", {}).get("expected_tags")))
        if known is not None:
            return f"Input's tag should be one of {known}"
    # The name of a kind is a validator's to choose, too: letters alone hold no number of a card.
    return f"refused ({kind})" if _KIND.fullmatch(kind) else "refused"
