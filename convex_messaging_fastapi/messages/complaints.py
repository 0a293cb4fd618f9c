"""Why bytes are no message, told without repeating any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import islice
from typing import Any, cast, get_args

from pydantic import ValidationError
from pydantic_core import core_schema

MAX_PROBLEMS = 5
MAX_COUNTED = 1000
MAX_LENGTH = 1000
MAX_LEAVES = 1000

_FROM_CODE = frozenset({"value_error", "assertion_error"})
_REPEATING = frozenset({"union_tag_invalid"})
_KNOWN = frozenset(get_args(core_schema.ErrorType)) - _REPEATING - _FROM_CODE


def validation_text(error: ValidationError, names: Set[str] = frozenset()) -> str:
    """One line: where and why, five problems at most.

    Of the places only numbers and `names` are told: any other key is the payload's own.
    """
    if error.error_count() > MAX_COUNTED:  # a megabyte can hold a million, and listing them takes seconds
        return f"{error.error_count()} problems"
    problems = error.errors(include_url=False, include_context=False)
    told = [_problem(cast("Mapping[str, Any]", problem), names) for problem in problems[:MAX_PROBLEMS]]
    if (more := len(problems) - MAX_PROBLEMS) > 0:
        told.append(f"and {more} more")
    return one_line("; ".join(told), MAX_LENGTH)


def one_line(text: str, limit: int) -> str:
    """`text` without what could forge a line or steer a terminal, cut to `limit` characters."""
    shown = "".join(map(printable, text[:limit]))
    return shown if len(shown) <= limit and len(text) <= limit else f"{shown[:limit]}..."


def printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _problem(problem: Mapping[str, Any], names: Set[str]) -> str:
    place = ".".join(_place(part, names) for part in problem["loc"])
    return f"{place}: {_reason(problem)}" if place else _reason(problem)


def _place(part: int | str, names: Set[str]) -> str:
    return str(part) if isinstance(part, int) or part in names else "?"


def _reason(problem: Mapping[str, Any]) -> str:
    kind, message = problem["type"], str(problem["msg"])
    if kind in _KNOWN or (kind in _FROM_CODE and not _repeats(message, problem["input"])):
        return message
    return f"refused ({kind})"


def _repeats(message: str, value: Any) -> bool:
    """Whether a validator's own sentence may quote the value it refused; when in doubt it does."""
    leaves = list(islice(_leaves(value), MAX_LEAVES))
    return len(leaves) == MAX_LEAVES or any(leaf and leaf in message for leaf in leaves)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for member in value.values():
            yield from _leaves(member)
    elif isinstance(value, list | tuple | set | frozenset):
        for member in value:
            yield from _leaves(member)
    else:
        yield str(value)
