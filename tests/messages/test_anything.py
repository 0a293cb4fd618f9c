"""Values that no field speaks of: extra ones, and those that are written by their own type.

They are written, and refused, as values in an `Any` are.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SerializeAsAny
from typing_extensions import TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import DecodeError, EncodeError
from convex_messaging_fastapi.messages import codec_for, encode

NAN, HUGE = float("nan"), 10**400


class Extras(ConvexMessage, extra="allow"):
    user_id: int = 1


class PlainExtras(BaseModel, extra="allow"):
    user_id: int = 1


class Row(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    user_id: int


class Rows(ConvexMessage):
    row: Row


class PlainRows(BaseModel):
    row: Row


class Animal(ConvexMessage):
    name: str = "rex"


class Dog(Animal):
    weight: Any = None
    price: Decimal = Decimal("1.10")


class Kennel(ConvexMessage):
    dog: SerializeAsAny[Animal | None] = None
    dogs: SerializeAsAny[list[Animal]] = []
    blobs: SerializeAsAny[list[bytes]] = []


class PlainKennel(BaseModel):
    dog: SerializeAsAny[Animal]


VALUES = {"n": Decimal("1.10"), "b": [b"\xff"], "t": {"of": timedelta(days=1)}}
WRITTEN = b'"n":1.10,"b":["/w=="],"t":{"of":"1.00:00:00"}}'


def extras(**extra: Any) -> list[Any]:
    row: Any = {"user_id": 1} | extra
    return [Extras(**extra), PlainExtras(**extra), Rows(row=row), PlainRows(row=row)]


def test_extra_fields_of_a_message_are_written_as_its_fields_are() -> None:
    message, _, rows, _ = extras(**VALUES)
    assert encode(message) == b'{"UserId":1,' + WRITTEN
    assert encode(rows) == b'{"Row":{"user_id":1,' + WRITTEN + b"}"


def test_extra_fields_that_json_has_come_back() -> None:
    message = Extras(Words=["NaN", "**"], inner={"a": [1, 0.5, None]})  # type: ignore[call-arg]
    assert codec_for(Extras).decode(encode(message)) == message
    assert encode(PlainExtras(a=None, b="NaN")) == b'{"user_id":1,"a":null,"b":"NaN"}'  # type: ignore[call-arg]


def test_what_is_written_by_its_own_type_is_written_as_that_writes_it() -> None:
    kennel = Kennel(dog=Dog(), dogs=[Dog(weight=b"\xff")], blobs=[b"\xff"])
    dog = b'{"Name":"rex","Weight":null,"Price":1.10}'
    assert encode(kennel) == (
        b'{"Dog":%s,"Dogs":[%s],"Blobs":["/w=="]}' % (dog, dog.replace(b"null", b'"/w=="'))
    )
    assert codec_for(Kennel).decode(encode(kennel)).blobs == [b"\xff"]
    assert encode(PlainKennel(dog=Dog())) == b'{"dog":%s}' % dog


@pytest.mark.parametrize("wrong", [NAN, [Decimal("Infinity")], {"a": HUGE}], ids=["nan", "inf", "huge"])
def test_numbers_that_are_refused_in_fields_are_refused_there(wrong: Any) -> None:
    dogs = [
        Kennel(dog=Dog(weight=wrong)),
        Kennel(dogs=[Dog(weight=wrong)]),
        PlainKennel(dog=Dog(weight=wrong)),
    ]
    for message in (*extras(extra=wrong), *dogs):
        with pytest.raises(EncodeError, match=r"(extra|weight).*(no number that JSON has|400 digits)"):
            encode(message)


@pytest.mark.parametrize("model", [Extras, PlainExtras])
def test_an_extra_number_too_large_for_a_float_is_refused_when_it_is_read(model: Any) -> None:
    with pytest.raises(DecodeError, match="too large for a float"):
        codec_for(model).decode(b'{"UserId":1,"extra":1e400}')
