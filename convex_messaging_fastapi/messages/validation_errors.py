"""Says why bytes are no valid message, without repeating any of them."""

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
"""Kinds of error whose sentence is pydantic's own, and repeats nothing that was sent.

The sentence of a user's validator may repeat the value in any form: without blanks, in capitals, in part.
No comparison can find that, so no such sentence is shown.
"""

_OURS: Mapping[str, str] = {NOT_BASE64: "Input should be bytes in standard base64"}
"""Our own kinds of error. Their sentences stand here, since a validator may use the kind with another."""

_KIND = re.compile(r"[a-z_]{1,60}")
_NO_TAGS: Mapping[str, str] = {}


def validation_text(
    error: ValidationError, names: Set[str] = frozenset(), tags: Mapping[str, str] = _NO_TAGS
) -> str:
    """One line: where and why, five problems at most.

    Of a place only numbers and `names` are shown: any other key is the payload's own. Of an error of a
    model's validator only the kind is shown. `tags` maps pydantic's texts for the known tags of a union
    to ours.
    """
    if error.error_count() > MAX_COUNTED:  # a megabyte can hold a million, and listing them takes seconds
        return f"{error.error_count()} problems"
    problems = error.errors(include_url=False, include_input=False)
    told = [_problem(cast("Mapping[str, Any]", problem), names, tags) for problem in problems[:MAX_PROBLEMS]]
    if (more := len(problems) - MAX_PROBLEMS) > 0:
        told.append(f"and {more} more")
    return one_line("; ".join(told), MAX_LENGTH)


MAX_NAME = 256
"""Characters that are shown of a name or an id."""


def short(value: bytes | None) -> str | None:
    """The part of a header's value that is shown."""
    # Cut as bytes first: a megabyte need not be decoded for 256 characters; one more shows that it was cut.
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
    )  # otherwise it is a key of a dict whose keys are numbers
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
    # A validator may choose the name of a kind, too: letters alone cannot be a card number.
    return f"refused ({kind})" if _KIND.fullmatch(kind) else "refused"
