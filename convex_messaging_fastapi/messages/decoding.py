"""Bytes from the wire to what a handler's annotation asks for; the way is chosen once a handler.

Whatever the bytes, nothing but `DecodeError` is raised. Of a key that comes twice the last wins. A byte-order
mark before the JSON is passed over. NaN, infinities and numbers that no float can hold are refused.
"""

from __future__ import annotations

import codecs
import inspect
import re
from collections.abc import Callable
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from jiter import from_json
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from convex_messaging_fastapi.errors import DeclarationError, DecodeError
from convex_messaging_fastapi.messages.complaints import one_line, validation_text
from convex_messaging_fastapi.messages.plain import is_finite, numbers_in
from convex_messaging_fastapi.messages.schemas import Facts, facts_of

Reader = Callable[[bytes], Any]

_HUNDREDS = re.compile(rb"[eE]\+?[0-9]{3}")
_LONG_RUN = re.compile(rb"(?<![0-9])[0-9]{309}")
_THOUSANDS = re.compile(rb"[eE][+-]?[0-9]{4}")

# As numbers: looking for one byte takes a tenth of the time that looking for a word takes.
_N, _I = b"NI"

MAX_EXPONENT = 6144
"""Of a decimal, as in IEEE 754's decimal128. Turning 1e9999999 into an `int` takes seconds."""


class NotJson(ValueError):
    """Bytes that are not JSON, or hold a number that is none."""


class Decoder:
    """Reads the values of records for one annotation."""

    __slots__ = ("_name", "_names", "_read", "_takes_null")

    def __init__(self, name: str, read: Reader, names: frozenset[str], takes_null: bool) -> None:
        self._name = name
        self._read = read
        self._names = names
        self._takes_null = takes_null

    def decode(self, value: bytes | None) -> Any:
        """Raises `DecodeError`, whose text never repeats the payload."""
        if value is None:
            return self._null()
        try:
            return self._read(value)
        except Exception as error:  # noqa: BLE001 - a model's own validators may raise anything
            problem = error
        if value.startswith(codecs.BOM_UTF8):
            try:
                return self._read(value[len(codecs.BOM_UTF8) :])
            except Exception as error:  # noqa: BLE001 - as above
                problem = error
        # Not `from problem`: its text may hold the payload, and a stack trace would tell it.
        raise DecodeError(f"the value is no {self._name}: {self._reason(problem)}")

    def _null(self) -> None:
        if not self._takes_null:
            raise DecodeError(
                f"the value is null (a tombstone: its key was deleted), and the handler takes {self._name}: "
                f"annotate its message as `{self._name} | None` to be told of deletions"
            )

    def _reason(self, problem: Exception) -> str:
        if isinstance(problem, ValidationError):
            return validation_text(problem, self._names)
        if isinstance(problem, NotJson):
            return one_line(str(problem), 200)
        return f"reading it raised {type(problem).__name__}"


def codec_for(annotation: Any) -> Decoder:
    """The decoder of a handler's message.

    `bytes` is the raw value; no annotation means decoded JSON. A null value is refused unless the
    annotation allows `None`. Raises `DeclarationError` for what pydantic cannot validate, and for
    a model that holds decimals beside something that only JSON text can be read into.
    """
    takes_null, name = _allows_none(annotation), _name_of(annotation)
    if _without_none(annotation) is bytes:
        return Decoder(name, bytes, frozenset(), takes_null)
    if annotation is inspect.Parameter.empty or annotation is Any:
        return Decoder("JSON", _refusing_infinities(_read_json), frozenset(), False)
    adapter = _adapter(annotation)
    facts = facts_of(adapter.core_schema)
    read = _reader(adapter, facts, name)
    return Decoder(name, read, facts.names, takes_null)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        adapter = TypeAdapter(annotation)
        adapter.core_schema["type"]  # a model that names unknown types complains here
    except (PydanticUserError, NameError) as error:
        raise DeclarationError(
            f"messages of type {_name_of(annotation)} cannot be read: {_first_line(error)}. Use a pydantic "
            "model, a dataclass, a TypedDict, or anything else that pydantic validates"
        ) from error
    return adapter


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _reader(adapter: TypeAdapter[Any], facts: Facts, name: str) -> Reader:
    if facts.has_decimal:
        read = _reading_decimals(adapter, facts, name)
        return _refusing_infinities(read) if facts.may_read_infinity else read
    return _reading_floats(adapter) if facts.may_read_infinity else _reading_straight(adapter)


def _reading_straight(adapter: TypeAdapter[Any]) -> Reader:
    validate = adapter.validator.validate_json

    def read(value: bytes) -> Any:
        if (_N in value or _I in value) and _has_words(value):
            _read_json(value)
        return validate(value)

    return read


def _reading_floats(adapter: TypeAdapter[Any]) -> Reader:
    """As `_reading_straight` and `_refusing_infinities` in one call: many messages hold a float."""
    validate, has_hundreds = adapter.validator.validate_json, _HUNDREDS.search

    def read(value: bytes) -> Any:
        if (_N in value or _I in value) and _has_words(value):
            _read_json(value)
        message = validate(value)
        if (has_hundreds(value) or len(value) >= 309) and _may_overflow(value) and not is_finite(message):
            raise NotJson("a number is too large for a float")
        return message

    return read


def _reading_decimals(adapter: TypeAdapter[Any], facts: Facts, name: str) -> Reader:
    """By way of Python values, since pydantic turns a JSON number into a float before a `Decimal`."""
    if facts.only_from_json is not None:
        raise DeclarationError(
            f"{name} holds a Decimal, whose digits are only kept by parsing JSON first, and "
            f"{facts.only_from_json}, which cannot be read from what is parsed: take "
            "strict mode (or val_json_bytes) off that field, for instance with Field(strict=False)"
        )
    validate = adapter.validator.validate_python

    def read(value: bytes) -> Any:
        tree = _parse(value, "decimal")
        if _THOUSANDS.search(value) and not all(map(_is_measured, numbers_in(tree))):
            raise NotJson(f"a number's exponent is beyond {MAX_EXPONENT}")
        return validate(tree)

    return read


def _is_measured(number: float | Decimal) -> bool:
    return isinstance(number, float) or abs(number.adjusted()) <= MAX_EXPONENT


def _has_words(value: bytes) -> bool:
    """Whether there are words that pydantic takes for numbers."""
    return b"NaN" in value or b"Infinity" in value


def _read_json(value: bytes) -> Any:
    return _parse(value, "float")


def _parse(value: bytes, float_mode: Any) -> Any:
    try:
        return from_json(value, float_mode=float_mode, allow_inf_nan=False)
    except ValueError as error:
        raise NotJson(f"not JSON, {error}") from None


def _refusing_infinities(read: Reader) -> Reader:
    """A number such as 1e400 becomes an infinite float: look again where there may be one."""

    def checked(value: bytes) -> Any:
        message = read(value)
        if _may_overflow(value) and not is_finite(message):
            raise NotJson("a number is too large for a float")
        return message

    return checked


def _may_overflow(value: bytes) -> bool:
    return bool(_HUNDREDS.search(value) or (len(value) >= 309 and _LONG_RUN.search(value)))


def _allows_none(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _allows_none(get_args(annotation)[0])
    return annotation in (None, NoneType) or (
        get_origin(annotation) in (Union, UnionType) and any(map(_allows_none, get_args(annotation)))
    )


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        return _without_none(members[0]) if len(members) == 1 else annotation
    return annotation


def _name_of(annotation: Any) -> str:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation)
