"""Wrong settings told in plain sentences: which one, what it says, where that came from, what it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from convex_messaging_fastapi.settings.contradictions import Problem
from convex_messaging_fastapi.settings.sources import Found
from convex_messaging_fastapi.settings.spellings import did_you_mean

Fields = Mapping[str, FieldInfo]

_LONGEST_SHOWN = 60
_WORD = re.compile(r"[A-Za-z_ -]+")


def misfits(errors: Iterable[ErrorDetails], fields: Fields) -> list[Problem]:
    """What pydantic refused, one sentence each."""
    # A default that was not made because another setting is wrong is no mistake of its own.
    return [_misfit(error, fields) for error in errors if error["type"] != "default_factory_not_called"]


def report(problems: Iterable[Problem], given: Mapping[str, Any], found: Mapping[str, Found]) -> str:
    """One line a problem, each with the places that its values came from."""
    lines = [_with_origins(problem, given, found) for problem in problems]
    if len(lines) == 1:
        return lines[0]
    return "\n".join([f"{len(lines)} settings are wrong:", *(f"  - {line}" for line in lines)])


def _misfit(error: ErrorDetails, fields: Fields) -> Problem:
    name = str(error["loc"][0])
    if name not in fields:
        return Problem(f"there is no setting {name!r}{did_you_mean(name, fields)}", ())
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ValueError):
        return Problem(f"{name} {cause}", (name,))
    return Problem(f"{name} takes {_taken(fields[name])}{_shown(error['input'], fields[name])}", (name,))


def _taken(field: FieldInfo) -> str:
    kind = _kind(field)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is Callable:
        return "an async function without parameters that answers a token"
    words = {bool: "true or false", int: "a whole number", float: "a number"}
    return words.get(kind, "text") + _bounds(field)


def _kind(field: FieldInfo) -> Any:
    """The type of a setting, leaving away that it may be absent."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(field.annotation) else field.annotation


def _bounds(field: FieldInfo) -> str:
    """` from 1 to 300`, ` of 1 or more`: the bounds that a setting declares."""
    rules = [(word, rule) for rule in field.metadata for word in ("ge", "gt", "le") if hasattr(rule, word)]
    bounds = {word: _figure(getattr(rule, word)) for word, rule in rules}
    if "le" in bounds:
        return f" from {bounds['ge']} to {bounds['le']}"
    if "ge" in bounds:
        return f" of {bounds['ge']} or more"
    return f" of more than {bounds['gt']}" if "gt" in bounds else ""


def _figure(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _shown(value: object, field: FieldInfo) -> str:
    if is_secret(field) or not isinstance(value, str | int | float):
        return ""
    if get_origin(_kind(field)) is Literal and not _WORD.fullmatch(str(value)):
        return ""  # it looks like no word at all: a password may have gone to the wrong place
    text = repr(value)
    return f", not {text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + '...'}"


def is_secret(field: FieldInfo) -> bool:
    return _kind(field) is SecretStr


def secret_names(fields: Fields) -> frozenset[str]:
    return frozenset(name for name, field in fields.items() if is_secret(field))


def _with_origins(problem: Problem, given: Mapping[str, Any], found: Mapping[str, Found]) -> str:
    places = {name: _origin(name, given, found) for name in problem.settings}
    if not places:
        return problem.sentence
    told = places.values() if len(places) == 1 else (f"{name} is {place}" for name, place in places.items())
    return f"{problem.sentence} ({', '.join(told)})"


def _origin(name: str, given: Mapping[str, Any], found: Mapping[str, Found]) -> str:
    if name not in given:
        return "the default"
    # Equal to what was found outside: whichever of the two won, that place holds the wrong value.
    outside = found.get(name)
    if outside is not None and outside.value == given[name]:
        return f"set by {outside.origin}"
    return "given in code"
