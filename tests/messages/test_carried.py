"""What a ConvexMessage would lose on the wire is refused when it is published."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pytest
from pydantic import BaseModel, Field, RootModel, SerializeAsAny, create_model
from typing_extensions import TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import codec_for, encode
from tests.messages.generics import of

T = TypeVar("T")


class Animal(ConvexMessage):
    name: str


class Dog(Animal):
    breed: str


class Puppy(Dog):
    weeks: int


class Plain(BaseModel):
    name: str


class PlainDog(Plain):
    breed: str


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Point3(Point):
    z: int


class Pair(NamedTuple):
    pet: Animal


class Row(TypedDict):
    pet: Animal


@dataclasses.dataclass
class Cage:
    pet: Animal


class Envelope(ConvexMessage, Generic[T]):
    data: T


class Pets(RootModel[list[Animal]]):
    pass


class Box(BaseModel):
    pet: Plain


class Itself(ConvexMessage):
    pet: Animal | None = None
    inner: Itself | None = None


REX: dict[type, Any] = {
    Animal: Dog(name="rex", breed="lab"),
    Plain: PlainDog(name="rex", breed="lab"),
    Point: Point3(1, 2),
}

AROUND: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], str]] = {
    "alone": (lambda kind: kind, lambda value: value, "held"),
    "optional": (lambda kind: kind | None, lambda value: value, "held"),
    "list": (lambda kind: of(list, kind), lambda value: [value], "held.0"),
    "dict": (lambda kind: of(dict, str, of(list, kind)), lambda value: {"a": [value]}, "held.a.0"),
    "tuple": (lambda kind: of(tuple, int, kind), lambda value: (1, value), "held.1"),
    "tuple of many": (lambda kind: of(tuple, kind, ...), lambda value: (value,), "held.0"),
    "union": (lambda kind: int | kind, lambda value: value, "held"),
    "annotated": (lambda kind: Annotated[kind, Field(description="x")], lambda value: value, "held"),
    "generic": (lambda kind: of(Envelope, kind), lambda value: Envelope(data=value), "held.data"),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("kind", REX)
def test_an_instance_of_a_subclass_is_refused_where_its_base_is_declared(
    kind: type, around: tuple[Any, Any, str]
) -> None:
    annotation, wrapped, place = around
    model = create_model("Zoo", __base__=ConvexMessage, held=(annotation(kind), ...))
    value: Any = REX[kind]
    message = model.model_construct(held=wrapped(value))
    with pytest.raises(
        EncodeError, match=rf"Zoo\.{place} .*{type(value).__name__} is a subclass of {kind.__name__}"
    ):
        encode(message)
    with pytest.raises(EncodeError, match="subclass"):
        encode({"in": [message]})


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Pair, Pair(REX[Animal])),
        (Row, {"pet": REX[Animal]}),
        (Cage, Cage(REX[Animal])),
        (Pets, Pets([REX[Animal]])),
        (Box, Box(pet=REX[Plain])),
        (Itself, Itself(inner=Itself(inner=Itself(pet=REX[Animal])))),
        (Animal | Dog, Puppy(name="rex", breed="lab", weeks=3)),
        (list[Animal] | dict[str, Animal], {"a": REX[Animal]}),
        (ConvexMessage, Animal(name="rex")),
    ],
    ids=str,
)
def test_however_deep_it_stands(annotation: Any, value: Any) -> None:
    model = create_model("Zoo", __base__=ConvexMessage, held=(annotation, ...))
    with pytest.raises(EncodeError, match=r"Zoo\.held.*is a subclass of"):
        encode(model.model_construct(held=value))


class Kept(ConvexMessage):
    either: Animal | Dog
    any_of: SerializeAsAny[Animal]
    anything: Any
    generic: Envelope[Any]
    tagged: Annotated[Animal | Dog, Field(union_mode="left_to_right")] = Animal(name="x")


def test_what_is_written_whole_is_taken() -> None:
    dog = Dog(name="rex", breed="lab")
    kept = Kept(either=dog, any_of=dog, anything=dog, generic=Envelope[int](data=1))
    assert encode(kept).count(b'"Breed":"lab"') == 3
    assert encode(dog) == b'{"Name":"rex","Breed":"lab"}'
    assert encode(Puppy(name="rex", breed="lab", weeks=3)).endswith(b'"Weeks":3}')


def test_other_models_keep_pydantics_own_rule() -> None:
    class Shelter(BaseModel):
        pet: Plain

    assert encode(Shelter(pet=REX[Plain])) == b'{"pet":{"name":"rex"}}'
    with pytest.raises(EncodeError, match="subclass"):
        encode(create_model("Holder", pet=(Itself, ...))(pet=Itself(pet=REX[Animal])))


def test_a_subclass_made_after_the_first_message_is_seen() -> None:
    class Base(ConvexMessage):
        name: str

    class Holder(ConvexMessage):
        held: Base

    assert encode(Holder(held=Base(name="a"))) == b'{"Held":{"Name":"a"}}'

    class Later(Base):
        more: int

    with pytest.raises(EncodeError, match=r"Holder\.held.*Later is a subclass of Base"):
        encode(Holder(held=Later(name="a", more=1)))


def test_members_of_a_tagged_union_are_taken_and_their_subclasses_are_not() -> None:
    class One(ConvexMessage):
        kind: Literal["one"] = "one"

    class Two(ConvexMessage):
        kind: Literal["two"] = "two"

    class More(One):
        extra: int

    class Holder(ConvexMessage):
        held: Annotated[One | Two, Field(discriminator="kind")]

    assert encode(Holder(held=Two())) == b'{"Held":{"Kind":"two"}}'
    with pytest.raises(EncodeError, match="More is a subclass of One"):
        encode(Holder(held=More(extra=1)))


OFFSETS = [timedelta(seconds=30), timedelta(hours=-1, seconds=-1), timedelta(minutes=17, microseconds=5)]


@pytest.mark.parametrize("offset", OFFSETS, ids=str)
@pytest.mark.parametrize("beside", [{}, {"amount": (Decimal, Decimal("1.10"))}], ids=["alone", "decimal"])
def test_an_offset_that_has_seconds_is_refused(offset: timedelta, beside: Any) -> None:
    zone = timezone(offset)
    for value in (datetime(2026, 1, 1, tzinfo=zone), time(12, tzinfo=zone)):
        model: Any = create_model("Event", __base__=ConvexMessage, at=(list[datetime | time], ...), **beside)
        with pytest.raises(EncodeError, match=r"Event\.at\.0 .*offset from UTC has seconds.*astimezone"):
            encode(model(at=[value]))


@pytest.mark.parametrize(
    "offset", [timedelta(hours=2), timedelta(hours=-14, minutes=30), timedelta(0)], ids=str
)
def test_any_other_offset_comes_back(offset: timedelta) -> None:
    model: Any = create_model("Event", __base__=ConvexMessage, at=(datetime, ...), text=(str, "12:30:000:00"))
    event = model(at=datetime(2026, 1, 1, 12, 30, 15, 5, tzinfo=timezone(offset)))
    assert codec_for(model).decode(encode(event)) == event
    assert encode(model(at=datetime(2026, 1, 1, tzinfo=UTC)))


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_something_in_the_place_of_a_time_is_written_as_pydantic_would() -> None:
    model = create_model("Event", __base__=ConvexMessage, at=(datetime, ...), then=(datetime | None, None))
    assert encode(model.model_construct(at="soon")) == b'{"At":"soon","Then":null}'
    assert encode(model.model_construct(at=None)) == b'{"At":null,"Then":null}'
    assert encode(model.model_construct(then=None)) == b'{"Then":null}'
