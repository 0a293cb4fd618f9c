"""Messages to the bytes that go on the wire."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages.bounds import (
    MAX_DIGITS,
    is_within,
    may_hold_large_decimals,
    numbers_are_within,
)
from convex_messaging_fastapi.messages.carried import OFFSET, TIMES, Carried
from convex_messaging_fastapi.messages.decimals import AS_NUMBERS, out_of_bounds, restored
from convex_messaging_fastapi.messages.message_types import wire_name
from convex_messaging_fastapi.messages.plain import (
    as_written,
    decimals_in,
    holds_secret,
    is_finite,
    secret_refused,
)
from convex_messaging_fastapi.messages.schemas import Facts, facts_of
from convex_messaging_fastapi.messages.unwritable import unwritable_value_in

Writer = Callable[[Any], bytes]


def encode(message: Any) -> bytes:
    """`message` as UTF-8 JSON; `bytes` pass as they are.

    Pydantic models keep their own encoding, aliases included; in a `ConvexMessage` and in plain
    dicts, lists, dataclasses and `TypedDict`s a `Decimal` is a number with its digits intact.
    Raises `EncodeError`, which names the place and the remedy, for `None`, NaN, infinities, what
    JSON does not know, secrets that would be written as stars, numbers that no handler would be
    given (more than 400 digits, or an exponent beyond 400), and what a `ConvexMessage` would lose.
    """
    try:
        return _writer_for(type(message))(message)
    except Exception as error:
        if (refusal := _refusal(message, error)) is None:
            raise
        raise refusal from error


def message_type(message: Any) -> str | None:
    """The value of the `message-type` header: the message's class; `None` for raw bytes."""
    return _type_of(type(message))


def _new_type(kind: type) -> str | None:
    return None if issubclass(kind, bytes) else wire_name(kind)


_type_of: Callable[[Any], str | None] = lru_cache(maxsize=4096)(_new_type)


def _refusal(message: Any, error: Exception) -> EncodeError | None:
    """A better error, or `None` if this one says enough itself."""
    if (culprit := unwritable_value_in(message)) is not None:
        return EncodeError(f"a message of type {type(message).__name__} cannot be written as JSON: {culprit}")
    if isinstance(error, EncodeError):
        return None
    return EncodeError(f"a message of type {type(message).__name__} cannot be written as JSON: {error}")


def _new_writer(kind: Any) -> Writer:
    if kind is type(None):
        return _refuse_none
    if issubclass(kind, bytes):
        return bytes
    schema = getattr(kind, "__pydantic_core_schema__", None)
    return _write_plain if schema is None else _guarded_writer(kind, facts_of(schema), Carried(schema))


_writer_for: Callable[[Any], Writer] = lru_cache(maxsize=4096)(_new_writer)


def _refuse_none(_message: None) -> bytes:
    raise EncodeError(
        "None is not a message: to delete what a key had in a compacted topic, say so with "
        "`bus.tombstone(topic, key=...)`"
    )


def _write_plain(message: Any) -> bytes:
    written = restored(to_json(as_written(message), by_alias=True, context=AS_NUMBERS))
    if not numbers_are_within(written) or _holds_large_text(written, message):
        raise out_of_bounds(type(message).__name__)
    if _STARS in written and holds_secret(message):
        raise secret_refused(message)
    return written


def _holds_large_text(written: bytes, message: Any) -> bool:
    """Whether a decimal that is written as text (a key, or by pydantic itself) is out of bounds."""
    return may_hold_large_decimals(written) and not all(map(is_within, decimals_in(message)))


def _guarded_writer(kind: Any, facts: Facts, carried: Carried) -> Writer:
    """Refuses what our decoder would refuse; looks twice only where there may be such a value."""
    if facts.writes_stars:
        return _refuse_secrets
    by_alias = _by_alias(kind)
    context = AS_NUMBERS if facts.may_write_decimals else None
    write = _refusing_infinities(by_alias, context) if facts.may_write_infinity else None
    looks_again = facts.may_write_decimals_as_text or facts.may_hold_anything
    more_times, watched = carried.has_more_times, carried.watched
    zones_of, in_utc = carried.zones_of, carried.in_utc

    def guarded(message: Any) -> bytes:
        written: bytes
        if write is not None:
            written = write(message)
        else:  # here, since a call would cost as much as two fields
            written = message.__pydantic_serializer__.to_json(message, by_alias=by_alias, context=context)
            if context is not None:
                written = restored(written)
        if looks_again or len(written) > MAX_DIGITS:
            _look_again(written, message, facts)
        try:
            is_odd = zones_of is not None and zones_of(message) != in_utc
        except AttributeError:  # no time in the place of one, as `model_construct` allows
            is_odd = True
        if is_odd and carried.has_offset(message):
            carried.refuse_loss(message)
        if (more_times and written.translate(TIMES).find(OFFSET) >= 0) or (
            watched and carried.has_subclasses()
        ):
            carried.refuse_loss(message)
        return written

    return guarded


def _look_again(written: bytes, message: Any, facts: Facts) -> None:
    if not numbers_are_within(written) or (
        facts.may_write_decimals_as_text and _holds_large_text(written, message)
    ):
        raise out_of_bounds(type(message).__name__)
    if facts.may_hold_anything and _STARS in written and holds_secret(message):
        raise secret_refused(message)


_STARS = b"*"


def _refuse_secrets(message: Any) -> bytes:
    raise secret_refused(message)


def _by_alias(kind: Any) -> bool | None:
    """Aliases are written, as FastAPI does and as they are read, unless the model says otherwise."""
    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
    return None if "serialize_by_alias" in config else True


def _refusing_infinities(by_alias: bool | None, context: Any) -> Writer:
    """Pydantic silently writes NaN as `null` or as a word: look again where one of these is."""

    def checked(message: Any) -> bytes:
        written: bytes = message.__pydantic_serializer__.to_json(message, by_alias=by_alias, context=context)
        if context is not None:
            written = restored(written)
        suspicious = b"null" in written or b"NaN" in written or b"Infinity" in written
        if suspicious and not is_finite(
            message.__pydantic_serializer__.to_python(message, context=AS_NUMBERS, warnings=False)
        ):
            raise EncodeError(
                f"{type(message).__name__} holds NaN or an infinity, for which JSON has no number"
            )
        return written

    return checked
