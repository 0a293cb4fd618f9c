"""Plain Python values as they are written: decimals marked, NaN and infinities refused."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from types import GeneratorType
from typing import Any

from pydantic import BaseModel

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages.bounds import is_within
from convex_messaging_fastapi.messages.carried import Carried
from convex_messaging_fastapi.messages.coercion import base64_of, text_of
from convex_messaging_fastapi.messages.decimals import marked, out_of_bounds
from convex_messaging_fastapi.messages.secret_fields import MENDED_BY, SECRETS, secret_in


def as_written(value: Any) -> Any:
    """`value` with its decimals marked; models in it write themselves.

    Raises `EncodeError` for NaN and infinities.
    """
    return _PLAIN.written(value)


def as_written_in_message(value: Any) -> Any:
    """As `as_written`; bytes and durations are written as they are in the fields of a `ConvexMessage`."""
    return _IN_MESSAGE.written(value)


class _Writing:
    """What to do with a value, by its type; a model writes itself."""

    def __init__(self, leaves: Mapping[type, Callable[[Any], Any]]) -> None:
        self._known: dict[type, Callable[[Any], Any]] = {dict: self._mapping}
        sequences = (list, tuple, set, frozenset, deque, GeneratorType)
        self._known.update((kind, self._sequence) for kind in sequences)
        self._known.update(leaves)

    def written(self, value: Any) -> Any:
        kind = type(value)
        if kind is str or kind is int or kind is bool or value is None:
            return value
        write = self._known.get(kind)
        return write(value) if write is not None else self._unusual(value)

    def _unusual(self, value: Any) -> Any:
        """Subclasses of what is common, dataclasses, and what only pydantic's encoder may know."""
        if _is_model(value):
            return _model(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: self.written(getattr(value, f.name)) for f in dataclasses.fields(value)}
        for kind, write in self._known.items():
            if isinstance(value, kind):
                return write(value)
        return value

    def _mapping(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        return {key: self.written(member) for key, member in value.items()}

    def _sequence(self, value: Any) -> list[Any]:
        return [self.written(member) for member in value]


def _model(value: Any) -> Any:
    if isinstance(value, SECRETS) or _writes_stars(type(value)):
        raise secret_refused(value)
    if not is_finite(value):
        raise EncodeError(f"{type(value).__name__} holds NaN or an infinity, for which JSON has no number")
    if not all(map(is_within, decimals_in(value))):
        raise out_of_bounds(type(value).__name__)
    _carried_by(type(value)).refuse_loss(value)
    return value


def _float(value: float) -> float:
    if not math.isfinite(value):
        raise EncodeError(f"{value} cannot be written as JSON: it has no such number")
    return value


_PLAIN = _Writing({float: _float, Decimal: marked})
_IN_MESSAGE = _Writing({float: _float, Decimal: marked, bytes: base64_of, timedelta: text_of})


def is_finite(value: Any) -> bool:
    """Whether no float or decimal in `value` is NaN or infinite."""
    return all(
        number.is_finite() if isinstance(number, Decimal) else math.isfinite(number)
        for number in numbers_in(value)
    )


def numbers_in(value: Any) -> Iterator[float | Decimal]:
    """Every float and decimal in `value`, however deep; models and dataclasses are looked into."""
    return (leaf for leaf in _leaves(value, members_of) if isinstance(leaf, float | Decimal))


def decimals_in(value: Any) -> Iterator[Decimal]:
    """Every decimal in `value`, those that are keys included."""
    return (leaf for leaf in _leaves(value, _members_and_keys) if isinstance(leaf, Decimal))


_LEAVES = (str, int, float, Decimal, *SECRETS)


def _leaves(value: Any, members: Callable[[Any], Iterable[Any]]) -> Iterator[Any]:
    """The values without members. Not by recursion: each would pass through every level on its way out."""
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if one is None or isinstance(one, _LEAVES):
            yield one
        elif id(one) not in seen:  # a child may refer to its parent
            seen.add(id(one))
            waiting.extend(members(one))


def _members_and_keys(value: Any) -> Iterable[Any]:
    return (*value.keys(), *value.values()) if isinstance(value, dict) else members_of(value)


def holds_secret(value: Any) -> bool:
    """Whether a secret is somewhere in `value`, whatever its schema says."""
    return any(isinstance(leaf, SECRETS) for leaf in _leaves(value, _members_and_keys))


def secret_refused(value: Any) -> EncodeError:
    """The error for a secret, which would be written as stars."""
    what = "is" if isinstance(value, SECRETS) else "holds"
    return EncodeError(f"{type(value).__name__} {what} a secret: {MENDED_BY}")


def _holds_stars(kind: Any) -> bool:
    return secret_in(getattr(kind, "__pydantic_core_schema__", None))


_writes_stars: Callable[[Any], bool] = lru_cache(maxsize=4096)(_holds_stars)


def _new_carried(kind: Any) -> Carried:
    return Carried(kind.__pydantic_core_schema__)


_carried_by: Callable[[Any], Carried] = lru_cache(maxsize=4096)(_new_carried)


def members_of(value: Any) -> Iterable[Any]:
    """The values in a container, model or dataclass, without keys."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset | deque):
        return value
    if isinstance(value, BaseModel):
        return (*value.__dict__.values(), *(value.__pydantic_extra__ or {}).values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return (getattr(value, f.name) for f in dataclasses.fields(value))
    return ()


def _is_model(value: Any) -> bool:
    return hasattr(type(value), "__pydantic_serializer__")
