"""Finds the value in a message that cannot be written, and what helps, once writing has failed."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import BaseModel, PlainSerializer, WrapSerializer
from pydantic_core import to_json

from convex_messaging_fastapi.messages import durations
from convex_messaging_fastapi.messages.bounds import MAX_DEPTH, is_within
from convex_messaging_fastapi.messages.decimals import AS_NUMBERS, OUT_OF_BOUNDS
from convex_messaging_fastapi.messages.message_types import ATTRIBUTE
from convex_messaging_fastapi.messages.plain import is_finite
from convex_messaging_fastapi.messages.secret_fields import MENDED_BY, SECRETS
from convex_messaging_fastapi.messages.validation_errors import one_line

_MOST_LOOKED_AT = 100_000
_LONGEST_NAME = 60


class Found(NamedTuple):
    """`is_certain`: only a user's own serialiser could write such a value, as another one."""

    reason: str
    is_certain: bool = True
    place: tuple[str, ...] = ()

    def inside(self, name: str) -> Found:
        return self._replace(place=(one_line(name, _LONGEST_NAME), *self.place))


def unwritable_value_in(message: Any) -> str | None:
    """`place: reason and remedy` of the first unwritable value that is found."""
    try:
        found = _Search().within(message, False, 0)
    except Exception:  # noqa: BLE001 - the values may be anything; the message is refused without a place, too
        return None
    return found and ": ".join(filter(None, (".".join(found.place), found.reason)))


class _Search:
    """Looks at one value after another, up to a limit."""

    def __init__(self) -> None:
        self._left = _MOST_LOOKED_AT

    def within(self, value: Any, coerces: bool, depth: int) -> Found | None:
        """`coerces`: it is inside a `ConvexMessage`, which writes bytes and durations in its own way."""
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            return None
        if isinstance(value, BaseModel):
            return self._of_model(value, depth)
        members = _members(value)
        return _reason(value, coerces) if members is None else self._first(members, coerces, depth)

    def _first(self, members: Iterable[tuple[str, Any]], coerces: bool, depth: int) -> Found | None:
        for name, member in members:
            if (found := self.within(member, coerces, depth + 1)) is not None:
                return found.inside(name)
        return None

    def _of_model(self, model: BaseModel, depth: int) -> Found | None:
        coerces = hasattr(type(model), ATTRIBUTE)
        for name, value in {**model.__dict__, **(model.__pydantic_extra__ or {})}.items():
            is_theirs = _has_own_serialiser(type(model), name)
            found = None if is_theirs else self.within(value, coerces, depth + 1)
            if found is not None and found.is_certain:
                return found.inside(name)
            # Only its field knows how a value of a user's own type is written.
            if (problem := _problem_of_field(model, name)) is not None:
                return (found or Found(problem)).inside(name)
        return None


def _members(value: Any) -> Iterable[tuple[str, Any]] | None:
    if isinstance(value, dict):
        return ((str(key), member) for key, member in value.items())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return ((str(index), member) for index, member in enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    return None


def _has_own_serialiser(model: type[BaseModel], name: str) -> bool:
    decorated = (
        field for one in model.__pydantic_decorators__.field_serializers.values() for field in one.info.fields
    )
    metadata = model.model_fields[name].metadata if name in model.model_fields else []
    return name in decorated or any(isinstance(one, PlainSerializer | WrapSerializer) for one in metadata)


def _problem_of_field(model: BaseModel, name: str) -> str | None:
    try:
        model.__pydantic_serializer__.to_json(model, include={name}, context=dict(AS_NUMBERS), warnings=False)
    except Exception as error:  # noqa: BLE001 - a user's serialiser may raise anything
        return str(error)
    return None


def _reason(value: Any, coerces: bool) -> Found | None:
    if isinstance(value, SECRETS):
        return Found(f"it is a secret: {MENDED_BY}")
    if isinstance(value, float | Decimal) and not is_finite(value):
        return Found(f"{value} is no number that JSON has: leave it out, or send None")
    if isinstance(value, int | Decimal) and not is_within(Decimal(value)):
        return Found(f"it is {OUT_OF_BOUNDS}")
    if isinstance(value, str):
        return _reason_of_text(value)
    if isinstance(value, bytes):
        return None if coerces else _reason_of_bytes(value)
    if isinstance(value, timedelta) and coerces:
        return None if durations.LEAST <= value <= durations.MOST else Found(durations.TOO_LONG)
    return _reason_of_type(value)


def _reason_of_text(text: str) -> Found | None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return Found(
            "it is text with one half of a surrogate pair, for which UTF-8 has no bytes: "
            "text.encode('utf-8', 'replace').decode() has a question mark there"
        )
    return None


def _reason_of_bytes(value: bytes) -> Found | None:
    try:
        value.decode()
    except UnicodeDecodeError:
        return Found(
            "it is bytes that are no UTF-8 text: declare them in a ConvexMessage, which writes base64, "
            "or as pydantic.Base64Bytes, or send base64.b64encode(...).decode()",
            is_certain=False,
        )
    return None


def _reason_of_type(value: Any) -> Found | None:
    if isinstance(value, type):
        name = value.__name__
        return Found(f"it is the class {name}, and no object of it: write {name}(...)", is_certain=False)
    try:
        to_json(value)
    except Exception:  # noqa: BLE001 - whatever it is, it cannot be written
        return Found(
            f"JSON has nothing for {type(value).__name__}: give the field a serialiser of its own "
            "(@field_serializer), or make it text, a number, a list or a dict",
            is_certain=False,
        )
    return None
