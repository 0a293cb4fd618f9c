"""A message that cannot be written: the error names the place and the remedy."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr, field_serializer

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import encode


class Custom:
    """Of this kind JSON knows nothing."""


class Plain(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    value: Any = None
    data: bytes = b""
    many: list[Any] = []
    written: Custom | None = None

    @field_serializer("written")
    def text(self, value: Custom | None) -> str | None:
        return None if value is None else "custom"


class Ours(ConvexMessage):
    value: Any = None
    inner: Plain | None = None
    by_name: dict[str, Any] = {}
    amount: Decimal | None = None


@dataclasses.dataclass
class Point:
    x: Any


LONG = Decimal("7" * 401)

TOLD: list[tuple[Any, str]] = [
    ({"a": b"\xff"}, r"type dict .*: a: it is bytes that are no UTF-8 text: .*Base64Bytes.*b64encode"),
    ({"a": [1, {"b": object()}]}, r"type dict .*: a\.1\.b: JSON has nothing for object: .*@field_serializer"),
    (Custom, r"it is the class Custom, and no object of it: write Custom\(\.\.\.\)"),
    ([Custom()], r"type list .*: 0: JSON has nothing for Custom"),
    (Point([Custom()]), r"type Point .*: x\.0: JSON has nothing for Custom"),
    ({"a": "\ud800"}, r": a: it is text with one half of a surrogate pair.*replace"),
    ({"a": float("nan")}, r": a: nan is no number that JSON has: .*None"),
    ({"a": Decimal("sNaN")}, r": a: sNaN is no number that JSON has"),
    ({"a": [LONG]}, r": a\.0: it is a number of more than 400 digits.*round it"),
    ({"a": 10**400}, r": a: it is a number of more than 400 digits"),
    (Plain(data=b"\xff"), r"type Plain .*: data: it is bytes that are no UTF-8 text"),
    (Plain(value=Custom(), written=Custom()), r"type Plain .*: value: JSON has nothing for Custom"),
    (Plain(many=[1, float("inf")]), r"type Plain .*: many\.1: inf is no number"),
    (Ours(value={"a": Custom()}), r"type Ours .*: value\.a: JSON has nothing for Custom"),
    (Ours(inner=Plain(data=b"\xff")), r"type Ours .*: inner\.data: it is bytes that are no UTF-8"),
    (Ours(value=timedelta.max), r"type Ours .*: value: it is a duration beyond .NET's TimeSpan"),
    (Ours(by_name={"a": ["\udfff"]}), r"type Ours .*: by_name\.a\.0: it is text with one half"),
    (Ours(amount=LONG), r"type Ours .*: amount: it is a number of more than 400 digits"),
    (Ours(by_name={"a": SecretStr("x")}), r"type Ours .*: by_name\.a: it is a secret: .*field_serializer"),
]


@pytest.mark.parametrize(("message", "told"), TOLD, ids=[told for _, told in TOLD])
def test_the_place_and_the_remedy_are_told(message: Any, told: str) -> None:
    with pytest.raises(EncodeError, match=told):
        encode(message)


def test_what_a_serialiser_raises_is_told_with_its_field() -> None:
    class Careless(ConvexMessage):
        fine: int = 1
        amount: int = 2

        @field_serializer("amount")
        def written(self, value: int) -> int:
            raise LookupError("no such unit")

    with pytest.raises(EncodeError, match=r"type Careless .*: amount: .*no such unit"):
        encode(Careless())


def test_names_of_keys_are_cut_and_made_printable() -> None:
    with pytest.raises(EncodeError) as refusal:
        encode({"k\n" * 100: Custom()})
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


def test_what_cannot_even_be_looked_at_is_refused_all_the_same() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise LookupError

        def __hash__(self) -> int:
            return 1

    with pytest.raises(EncodeError, match="type dict cannot be written"):
        encode({Hostile(): object()})
