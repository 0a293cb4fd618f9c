"""A secret that would be written as stars is refused; one that says how it is written is not."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pytest
from pydantic import (
    BaseModel,
    Field,
    PlainSerializer,
    Secret,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    create_model,
    field_serializer,
)
from typing_extensions import TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import DeclarationError, EncodeError
from convex_messaging_fastapi.messages import codec_for, encode
from tests.messages.generics import of

SECRETS: list[Any] = [SecretStr, SecretBytes, Secret[int], Annotated[SecretStr, Field(min_length=1)]]


class Inside(BaseModel):
    pin: SecretStr


class Row(TypedDict):
    pin: SecretStr


@dataclasses.dataclass
class Spot:
    pin: SecretStr


class Wrapped(BaseModel):
    pins: list[SecretStr]

    @field_serializer("pins", mode="wrap")
    def hand_on(self, pins: Any, handler: Any) -> Any:
        return handler(pins)


AROUND: dict[str, Any] = {
    "alone": lambda kind: kind,
    "optional": lambda kind: kind | None,
    "in a list": lambda kind: of(list, kind),
    "in a dict": lambda kind: of(dict, str, of(list, kind)),
    "in a tuple": lambda kind: of(tuple, kind, ...),
    "in a union": lambda kind: int | kind,
    "in a sequence": lambda kind: of(Sequence, kind),
    "in a mapping": lambda kind: of(Mapping, str, of(deque, kind)),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("kind", [*SECRETS, Inside, Row, Spot], ids=str)
def test_a_message_that_holds_a_secret_is_refused_when_its_class_is_made(kind: Any, around: Any) -> None:
    with pytest.raises(DeclarationError, match=r"Paid has a field that holds a secret.*@field_serializer"):
        create_model("Paid", __base__=ConvexMessage, pin=(around(kind), ...))


@pytest.mark.parametrize("name", ["metadata", "default", "config", "members", "type"])
def test_so_is_one_whose_field_has_a_name_that_schemas_use(name: str) -> None:
    with pytest.raises(DeclarationError, match="secret"):
        create_model("Paid", __base__=ConvexMessage, **{name: (SecretStr, ...)})  # type: ignore[call-overload]


def test_one_that_is_made_complete_later_is_refused_then() -> None:
    class Paid(ConvexMessage):
        pin: Later

    class Later(BaseModel):
        pin: SecretStr

    with pytest.raises(DeclarationError, match="Paid"):
        Paid.model_rebuild(_types_namespace={"Later": Later})


def test_a_secret_with_a_serialiser_of_its_own_is_written_as_that_says() -> None:
    shown = PlainSerializer(lambda secret: secret.get_secret_value())

    class Paid(ConvexMessage):
        pin: Annotated[SecretStr, shown]
        others: list[SecretStr]

        @field_serializer("others")
        def last(self, others: list[SecretStr]) -> list[str]:
            return [other.get_secret_value()[-1] for other in others]

    paid = Paid(pin=SecretStr("1234"), others=[SecretStr("56")])
    assert encode(paid) == b'{"Pin":"1234","Others":["6"]}'
    assert codec_for(Paid).decode(encode(paid)).pin == paid.pin


class Anything(BaseModel):
    value: Any


class OurAnything(ConvexMessage):
    value: Any


class WithExtras(BaseModel, extra="allow"):
    pass


class OurExtras(ConvexMessage, extra="allow"):
    pass


class Holder(BaseModel):
    pass


class Holding(Holder):
    pin: SecretStr


class Shown(BaseModel):
    held: SerializeAsAny[Holder]


class OurShown(ConvexMessage):
    held: SerializeAsAny[Holder]


PUBLISHED: list[Any] = [
    Inside(pin=SecretStr("1234")),
    Wrapped(pins=[SecretStr("1234")]),
    {"pin": SecretStr("1234")},
    {"pin": Inside(pin=SecretStr("1234"))},
    [SecretBytes(b"1234")],
    {"pins": [{SecretStr("1234"): 1}]},
    Anything(value={SecretStr("1234"): 1}),
    OurAnything(value={SecretStr("1234"): 1}),
    WithExtras(pin=SecretStr("1234")),  # type: ignore[call-arg]
    OurExtras(pin=[SecretStr("1234")]),  # type: ignore[call-arg]
    Shown(held=Holding(pin=SecretStr("1234"))),
    OurShown(held=Holding(pin=SecretStr("1234"))),
    Spot(pin=SecretStr("1234")),
    *(
        kind(value=value)
        for kind in (Anything, OurAnything)
        for value in (SecretStr("1234"), [SecretBytes(b"1234")], {"a": Inside(pin=SecretStr("1234"))})
    ),
]


@pytest.mark.parametrize("message", PUBLISHED, ids=lambda message: f"{type(message).__name__} {message}"[:60])
def test_in_any_other_message_it_is_refused_when_it_is_published(message: Any) -> None:
    with pytest.raises(EncodeError, match="secret"):
        encode(message)


def test_what_makes_its_values_one_by_one_keeps_none_back() -> None:
    with pytest.raises(EncodeError, match="secret"):
        encode(pin for pin in [SecretStr("1234")])


def test_stars_that_are_no_secret_are_written() -> None:
    assert encode(Anything(value="**********")) == b'{"value":"**********"}'
