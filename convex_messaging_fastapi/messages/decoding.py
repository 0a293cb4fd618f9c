"""Bytes from the wire to what a handler's annotation asks for; the way is chosen once a handler.

Whatever the bytes, nothing but `DecodeError` is raised. Of a key that comes twice the last wins. A byte-order
mark before the JSON is passed over. NaN, infinities and numbers that no float can hold are refused, and so
is what is out of the bounds of `bounds.py`, before it is read.
"""

from __future__ import annotations

import codecs
import gc
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from jiter import from_json
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaValidator

from convex_messaging_fastapi.errors import DeclarationError, DecodeError
from convex_messaging_fastapi.messages.bounds import (
    LONG_BYTES,
    SHORT_BYTES,
    Bounds,
    OutOfBounds,
    has_large_exponent,
    is_within,
    may_hold_large_decimals,
)
from convex_messaging_fastapi.messages.choosing import choice_of, named_type, opened, union_of
from convex_messaging_fastapi.messages.collisions import refuse_collisions
from convex_messaging_fastapi.messages.plain import decimals_in, is_finite
from convex_messaging_fastapi.messages.schema_walk import Walk
from convex_messaging_fastapi.messages.schemas import NO_FACTS, Facts, facts_of
from convex_messaging_fastapi.messages.spelling import respell_tag
from convex_messaging_fastapi.messages.validation_errors import one_line, validation_text
from convex_messaging_fastapi.records import Headers

Reader = Callable[[bytes], Any]
Validator = Any
"""Pydantic's `SchemaValidator`, or what a plugin of pydantic's puts in its place."""

_HUNDREDS = re.compile(rb"[eE]\+?[0-9]{3}")
_LONG_RUN = re.compile(rb"(?<![0-9])[0-9]{309}")

# As numbers: looking for one byte takes a tenth of the time that looking for a word takes.
_N, _I = b"NI"


_JSON = "JSON"
_ANYTHING = (inspect.Parameter.empty, Any, object)
"""Annotations that take whatever JSON is."""


class NotJson(ValueError):
    """Bytes that are not JSON, or hold a number that is none."""


class Decoder:
    """Reads the values of records for one annotation, within the default bounds unless others are given.

    Without bounds (`bytes`) nothing is looked at.
    """

    __slots__ = ("_bounds", "_facts", "_looks_odd", "_name", "_read", "_short", "_takes_null")

    def __init__(
        self, name: str, read: Reader, facts: Facts, takes_null: bool, bounds: Bounds | None
    ) -> None:
        self._name = name
        self._read = read
        self._facts = facts
        self._takes_null = takes_null
        self._bounds = bounds
        self._short: float = inf if bounds is None else SHORT_BYTES
        self._looks_odd = _looks_odd(facts, bounds)

    def within(self, bounds: Bounds) -> Decoder:
        """The same with other bounds."""
        own = None if self._bounds is None else bounds
        return Decoder(self._name, self._read, self._facts, self._takes_null, own)

    @property
    def asks_headers(self) -> bool:
        """Whether `decode` uses a record's headers."""
        return False

    @property
    def is_raw(self) -> bool:
        """Whether the message is the record's bytes themselves, so that decoding costs nothing."""
        return self._bounds is None

    def decode(self, value: bytes | None, headers: Headers = ()) -> Any:
        """Raises `DecodeError`, whose text never repeats the payload."""
        if value is None:
            return self._null()
        try:
            if len(value) > self._short or self._looks_odd(value):
                return self._read_within(value)
            return self._read(value)
        except Exception as error:  # noqa: BLE001 - a model's own validators may raise anything
            problem = error
        if value.startswith(codecs.BOM_UTF8) and not isinstance(problem, OutOfBounds):
            try:
                return self._read_within(value[len(codecs.BOM_UTF8) :])
            except Exception as error:  # noqa: BLE001 - as above
                problem = error
        # Not `from problem`: its text may hold the payload, and a stack trace would tell it.
        raise self._error(problem)

    def _read_within(self, value: bytes) -> Any:
        if self._bounds is None:
            return self._read(value)
        self._bounds.check(value)
        message = self._read(value) if len(value) < LONG_BYTES else self._read_long(value)
        if self._facts.has_decimal and may_hold_large_decimals(value):
            # Those that are text have passed unseen: to read them is cheap, to count with them is not.
            _refuse_large_decimals(message)
        return message

    def _read_long(self, value: bytes) -> Any:
        with _without_collecting():
            if self._facts.hashes_numbers:
                refuse_collisions(value)
            return self._read(value)

    def _error(self, problem: Exception) -> DecodeError:
        if isinstance(problem, OutOfBounds):
            return told(f"the value is not decoded as {self._name}: {problem}")
        return told(f"the value is no {self._name}: {self._reason(problem)}")

    def _null(self) -> None:
        if not self._takes_null:
            wanted = "Any" if self._name == _JSON else f"{self._name} | None"
            raise told(
                f"the value is null (a tombstone: its key was deleted), and the handler takes {self._name}: "
                f"annotate its message as `{wanted}` to be told of deletions"
            )

    def _reason(self, problem: Exception) -> str:
        if isinstance(problem, ValidationError):
            return validation_text(problem, self._facts.names, self._facts.tags)
        if isinstance(problem, NotJson):
            return one_line(str(problem), 200)
        return f"reading it raised {type(problem).__name__}"


class ChoosingDecoder(Decoder):
    """Reads a union as the member that a record's `message-type` names, and without one as pydantic does."""

    __slots__ = ("_members", "_others", "_whole")

    def __init__(self, whole: Decoder, members: Mapping[str, Decoder], others: Decoder | None) -> None:
        super().__init__(whole._name, whole._read, whole._facts, whole._takes_null, whole._bounds)
        self._whole = whole
        self._members = members
        self._others = others

    def within(self, bounds: Bounds) -> Decoder:
        members = {name: member.within(bounds) for name, member in self._members.items()}
        others = None if self._others is None else self._others.within(bounds)
        return ChoosingDecoder(self._whole.within(bounds), members, others)

    @property
    def asks_headers(self) -> bool:
        return True

    def decode(self, value: bytes | None, headers: Headers = ()) -> Any:
        name = named_type(headers)
        if value is None or name is None:
            return self._whole.decode(value)
        member = self._members.get(name, self._others)
        if member is None:
            raise told(
                f"the value is none of {', '.join(self._members)}, which the handler takes: its message-type "
                "header names another"
            )
        return member.decode(value)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Switches the garbage collector off while a long value is read: there is no garbage yet.

    Its runs would take four fifths of the time of reading a hundred thousand lists.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _refuse_large_decimals(message: Any) -> None:
    if not all(map(is_within, decimals_in(message))):
        raise OutOfBounds("a decimal given as text has more than 400 digits, or an exponent beyond 400")


def told(text: str) -> DecodeError:
    """An error of ours, whose text says what kind of mistake is where, and nothing that was sent."""
    error = DecodeError(text)
    error.tells_kind_and_place_only = True
    return error


def codec_for(annotation: Any) -> Decoder:
    """The decoder of a handler's message, within the default bounds.

    `bytes` is the raw value; no annotation means decoded JSON. A null value is refused unless the
    annotation allows `None`, as `Any` and `object` do. A union of models is read as the one that the
    `message-type` header names. Raises `DeclarationError` for what pydantic cannot validate, for a model
    that holds decimals beside something that only JSON text can be read into, and for one whose cost
    doubles with every level: a union that holds itself, and whose members nothing tells apart.
    """
    choice = choice_of(annotation)
    whole = _decoder_of(annotation, _name_of(annotation))
    if choice is None:
        return whole
    members = {name: _decoder_of(member, name) for name, member in choice.members.items()}
    others = choice.others and union_of(choice.others)
    return ChoosingDecoder(whole, members, _decoder_of(others, _name_of(others)) if others else None)


def _decoder_of(annotation: Any, name: str) -> Decoder:
    takes_null = _allows_none(annotation)
    if _without_none(annotation) is bytes:
        return Decoder(name, bytes, NO_FACTS, takes_null, None)
    if annotation in _ANYTHING:
        return Decoder(_JSON, _refusing_infinities(_read_json), NO_FACTS, takes_null, Bounds())
    adapter = _adapter(annotation)
    facts = facts_of(adapter.core_schema)
    if facts.ambiguous_recursion is not None:
        raise DeclarationError(
            f"messages of type {name} cannot be read in bounded time: the union {facts.ambiguous_recursion} "
            "holds itself and has no discriminator, so every level of a message doubles what reading it "
            'costs. Give each member a field of one literal, such as `kind: Literal["leaf"]`, and name it '
            'where the union stands: Annotated[..., Field(discriminator="kind")]'
        )
    return Decoder(name, _reader(_validator_of(adapter), facts, name), facts, takes_null, Bounds())


def _looks_odd(facts: Facts, bounds: Bounds | None) -> Callable[[bytes], bool]:
    """What is asked of a short value: may it hold a number out of bounds?"""
    if bounds is None:
        return _never
    return may_hold_large_decimals if facts.has_decimal else has_large_exponent


def _never(_value: bytes) -> bool:
    return False


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        adapter = TypeAdapter(annotation)
        adapter.core_schema["type"]  # raises for a model that names unknown types
    except (PydanticUserError, NameError) as error:
        raise DeclarationError(
            f"messages of type {_name_of(annotation)} cannot be read: {_first_line(error)}. Use a pydantic "
            "model, a dataclass, a TypedDict, or anything else that pydantic validates"
        ) from error
    return adapter


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _reader(validator: Validator, facts: Facts, name: str) -> Reader:
    if facts.has_decimal:
        read = _reading_decimals(validator, facts, name)
        return _refusing_infinities(read) if facts.may_read_infinity else read
    return _reading_floats(validator) if facts.may_read_infinity else _reading_straight(validator)


def _validator_of(adapter: TypeAdapter[Any]) -> Validator:
    """The adapter's own, unless a discriminator of the annotation itself has several spellings."""
    nodes = [node for node in Walk().below(adapter.core_schema) if isinstance(node, dict)]
    return SchemaValidator(adapter.core_schema) if [*filter(respell_tag, nodes)] else adapter.validator


def _reading_straight(validator: Validator) -> Reader:
    validate = validator.validate_json

    def read(value: bytes) -> Any:
        if (_N in value or _I in value) and _has_words(value):
            _read_json(value)
        return validate(value)

    return read


def _reading_floats(validator: Validator) -> Reader:
    """As `_reading_straight` and `_refusing_infinities` in one call: many messages hold a float."""
    validate, has_hundreds = validator.validate_json, _HUNDREDS.search

    def read(value: bytes) -> Any:
        if (_N in value or _I in value) and _has_words(value):
            _read_json(value)
        message = validate(value)
        if (has_hundreds(value) or len(value) >= 309) and _may_overflow(value) and not is_finite(message):
            raise NotJson("a number is too large for a float")
        return message

    return read


def _reading_decimals(validator: Validator, facts: Facts, name: str) -> Reader:
    """Through Python values, since pydantic makes a JSON number a float before it makes it a `Decimal`."""
    if facts.only_from_json is not None:
        raise DeclarationError(
            f"{name} holds a Decimal, whose digits are only kept by parsing JSON first, and "
            f"{facts.only_from_json}, which cannot be read from what is parsed: take "
            "strict mode (or val_json_bytes) off that field, for instance with Field(strict=False)"
        )
    validate = validator.validate_python

    def read(value: bytes) -> Any:
        return validate(_parse(value, "decimal"))

    return read


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
    """A number such as 1e400 becomes an infinite float: check again where there may be one."""

    def checked(value: bytes) -> Any:
        message = read(value)
        if _may_overflow(value) and not is_finite(message):
            raise NotJson("a number is too large for a float")
        return message

    return checked


def _may_overflow(value: bytes) -> bool:
    return bool(_HUNDREDS.search(value) or (len(value) >= 309 and _LONG_RUN.search(value)))


def _allows_none(annotation: Any) -> bool:
    annotation = opened(annotation)
    if get_origin(annotation) is Annotated:
        return _allows_none(get_args(annotation)[0])
    if annotation in (Any, object):
        return True
    return annotation in (None, NoneType) or (
        get_origin(annotation) in (Union, UnionType) and any(map(_allows_none, get_args(annotation)))
    )


def _without_none(annotation: Any) -> Any:
    annotation = opened(annotation)
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
