"""What may be published beside ConvexMessages, how it is written, and what is refused."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_serializer
from typing_extensions import TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import encode


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: Decimal
    at: datetime
    id: uuid.UUID
    colour: Colour
    tags: set[int]


class Row(TypedDict):
    price: Decimal


class Measured(BaseModel):
    value: float
    note: str | None = None


Pair = collections.namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("ñ", '"ñ"'.encode()),
        (5, b"5"),
        (True, b"true"),
        (1.5, b"1.5"),
        (Decimal("100.00"), b"100.00"),
        ([1, Decimal("1E-7"), None], b"[1,1E-7,null]"),
        ({"a": {"b": (Decimal("0.10"),)}}, b'{"a":{"b":[0.10]}}'),
        ({Decimal("1.0"): 1, 2: 3, Colour.RED: 4}, b'{"1.0":1,"2":3,"red":4}'),
        (Row(price=Decimal("2.50")), b'{"price":2.50}'),
        (Pair(1, Decimal("2.0")), b"[1,2.0]"),
        (collections.OrderedDict(a=Decimal("2.0")), b'{"a":2.0}'),
        (Level.HIGH, b"3"),
        (Colour.RED, b'"red"'),
        (RootModel[list[int]]([1, 2]), b"[1,2]"),
        (b"\xff\x00raw", b"\xff\x00raw"),
        (
            Point(Decimal("1.00"), datetime(2026, 1, 1, tzinfo=UTC), uuid.UUID(int=1), Colour.RED, {1}),
            b'{"x":1.00,"at":"2026-01-01T00:00:00Z","id":"00000000-0000-0000-0000-000000000001",'
            b'"colour":"red","tags":[1]}',
        ),
    ],
    ids=repr,
)
def test_plain_values_are_written_as_json_and_bytes_as_they_are(message: Any, written: bytes) -> None:
    assert encode(message) == written


def test_other_models_keep_their_names_and_their_encoding() -> None:
    class Payment(BaseModel):
        user_id: int
        amount: Decimal

    @pydantic.dataclasses.dataclass
    class Line:
        unit_price: Decimal

    assert encode(Payment(user_id=1, amount=Decimal("1.50"))) == b'{"user_id":1,"amount":"1.50"}'
    assert encode(Line(unit_price=Decimal("1.50"))) == b'{"unit_price":"1.50"}'


def test_aliases_are_written_unless_the_model_says_otherwise() -> None:
    class Aliased(BaseModel):
        user_id: int = Field(alias="userId")

    class Named(Aliased):
        model_config = ConfigDict(serialize_by_alias=False)

    assert encode(Aliased(userId=1)) == b'{"userId":1}'
    assert encode(Named(userId=1)) == b'{"user_id":1}'
    assert encode([Aliased(userId=1)]) == b'[{"userId":1}]'


def test_none_is_refused_and_pointed_to_tombstones() -> None:
    with pytest.raises(EncodeError, match="tombstone"):
        encode(None)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused_wherever_they_stand(number: float) -> None:
    @pydantic.dataclasses.dataclass
    class Reading:
        value: float

    class Nested(BaseModel):
        inside: list[Measured]

    class Sneaky(BaseModel):
        value: int = 1

        @field_serializer("value")
        def written(self, _: int) -> Any:
            return number

    bad = Measured(value=number)
    wrongs = (number, Decimal(number), {"a": [number]}, bad, [bad], {"a": bad}, Nested(inside=[bad]))
    for message in (*wrongs, Reading(number), Sneaky(), Pair(1, number)):
        with pytest.raises(EncodeError, match="JSON"):
            encode(message)


def test_null_and_words_are_not_taken_for_numbers_that_json_has_not() -> None:
    assert encode(Measured(value=1.0)) == b'{"value":1.0,"note":null}'
    assert encode(Measured(value=1.0, note="NaN Infinity")) == b'{"value":1.0,"note":"NaN Infinity"}'


def test_a_model_with_a_value_of_another_type_warns_once_as_pydantic_does() -> None:
    with pytest.warns(UserWarning, match="Expected `float`") as warned:
        assert encode(Measured.model_construct(value="x", note=None)) == b'{"value":"x","note":null}'
    assert len(warned) == 1


def deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


def circular() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    "message",
    [object(), {"a": object()}, "\ud800", {"a": b"\xff"}, deep(100_000), circular(), Measured],
    ids=type,
)
def test_what_json_does_not_know_is_refused_with_the_name_of_its_type(message: Any) -> None:
    with pytest.raises(EncodeError, match=f"type {type(message).__name__} cannot be written as JSON"):
        encode(message)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values.filter(lambda value: value is not None))
def test_any_json_value_is_written_so_that_it_reads_back(value: Any) -> None:
    assert json.loads(encode(value)) == value


def test_classes_may_come_and_go_without_being_kept_for_ever() -> None:
    class Event(ConvexMessage):
        number: int

    for number in range(3):
        kind = type(f"Event{number}", (Event,), {})
        assert encode(kind(number=number)) == b'{"Number":%d}' % number
