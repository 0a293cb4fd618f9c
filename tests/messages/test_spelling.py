"""By which names a ConvexMessage reads its fields, and that no two fields read or write one name."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, AliasPath, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel, to_pascal
from typing_extensions import TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import DeclarationError, DecodeError
from convex_messaging_fastapi.messages import codec_for, encode
from tests.support.examples import examples

BESIDE: dict[str, dict[str, Any]] = {"alone": {}, "beside a Decimal": {"amount": (Decimal, Decimal("1.10"))}}
beside_or_not = pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)


def made(beside: dict[str, Any], **fields: Any) -> Any:
    return create_model("Named", __base__=ConvexMessage, **fields, **beside)


@beside_or_not
@pytest.mark.parametrize("name", ["UserId", "userId", "user_id"])
def test_a_field_is_read_in_every_spelling_and_written_in_one(name: str, beside: dict[str, Any]) -> None:
    model = made(beside, user_id=(int, ...))
    message = codec_for(model).decode(b'{"%s":7}' % name.encode())
    assert message.user_id == 7
    assert encode(message).startswith(b'{"UserId":7')


@examples(50)
@given(st.from_regex(r"[a-z][a-z0-9]{0,8}(_[a-z][a-z0-9]{0,8}){0,3}", fullmatch=True))
def test_any_snake_case_name_is_read_in_every_spelling(name: str) -> None:
    if hasattr(ConvexMessage, name):
        return
    model = made({}, **{name: (int, ...)})
    for spelled in (to_pascal(name), to_camel(name), name):
        assert getattr(codec_for(model).decode(json.dumps({spelled: 1}).encode()), name) == 1


@pytest.mark.parametrize(
    ("name", "dotnet"),
    [("i_p_address", "ipAddress"), ("a_b", "ab"), ("x", "x"), ("user_id", "userId"), ("v2_id", "v2Id")],
)
def test_camel_case_is_dotnets_too_where_it_differs(name: str, dotnet: str) -> None:
    assert getattr(codec_for(made({}, **{name: (int, ...)})).decode(b'{"%s":1}' % dotnet.encode()), name) == 1


@beside_or_not
def test_pascal_case_wins_over_camel_case_over_snake_case_in_any_order(beside: dict[str, Any]) -> None:
    decode = codec_for(made(beside, user_id=(int, ...))).decode
    assert decode(b'{"user_id":3,"userId":2,"UserId":1}').user_id == 1
    assert decode(b'{"UserId":1,"userId":2,"user_id":3}').user_id == 1
    assert decode(b'{"user_id":3,"userId":2}').user_id == 2


class Row(TypedDict):
    first_one: int


@dataclasses.dataclass
class Point:
    first_one: int


class Pair(NamedTuple):
    first_one: int


class Inner(ConvexMessage):
    first_one: int


@beside_or_not
@pytest.mark.parametrize(
    "kind", [Row, Point, Pair, Inner, list[Inner], dict[str, Row], Point | None], ids=str
)
@pytest.mark.parametrize("name", ["FirstOne", "firstOne", "first_one"])
def test_so_are_the_fields_of_what_stands_inside(kind: Any, name: str, beside: dict[str, Any]) -> None:
    model = made(beside, the_value=(kind, ...))
    inside = {name: 1}
    wrapped: Any = [inside] if kind == list[Inner] else {"a": inside} if kind == dict[str, Row] else inside
    read = codec_for(model).decode(json.dumps({"theValue": wrapped}).encode())
    assert codec_for(model).decode(encode(read)) == read


def test_constructors_take_the_names_that_they_took() -> None:
    model = made({}, user_id=(int, ...))
    assert model(user_id=1) == model(UserId=1) == model(userId=1)


class TestWhoSwitchesTheSpellingsOff:
    @pytest.mark.parametrize("alias", ["$type", "UserId", "other"])
    def test_an_explicit_alias(self, alias: str) -> None:
        model = made({}, user_id=(int | None, Field(None, alias=alias)))
        read = codec_for(model).decode
        assert read(b'{"%s":7}' % alias.encode()).user_id == read(b'{"user_id":7}').user_id == 7
        assert read(b'{"userId":7}').user_id is None
        assert encode(model(user_id=7)) == b'{"%s":7}' % alias.encode()

    def test_alias_choices_and_paths(self) -> None:
        model = made(
            {}, user_id=(int | None, Field(None, validation_alias=AliasChoices("a", AliasPath("deep", 0))))
        )
        read = codec_for(model).decode
        assert read(b'{"a":7}').user_id == read(b'{"deep":[7]}').user_id == 7
        assert read(b'{"userId":7}').user_id is None

    def test_a_generator_of_a_subclass(self) -> None:
        class Camel(ConvexMessage):
            model_config = ConfigDict(alias_generator=to_camel)
            user_id: int = 0

        read = codec_for(Camel).decode
        assert encode(Camel(user_id=7)) == b'{"userId":7}'
        assert read(b'{"userId":7}') == read(b'{"user_id":7}') == Camel(user_id=7)
        assert read(b'{"UserId":7}').user_id == 0


@pytest.mark.parametrize(
    "alias",
    [Field(serialization_alias="Id"), Field(serialization_alias="Id", validation_alias="id")],
    ids=["for writing", "for both, and they differ"],
)
def test_what_is_written_by_an_alias_for_writing_alone_is_read_again(alias: Any) -> None:
    model = made({}, user_id=(int, alias))
    message = model.model_construct(user_id=7)
    assert encode(message) == b'{"Id":7}'
    assert codec_for(model).decode(b'{"Id":7}') == message


COLLIDING: dict[str, dict[str, Any]] = {
    "one name in two spellings": {"user_id": int, "userId": int},
    "its own name in pascal case": {"user_id": int, "UserId": int},
    "two that become one": {"a_1": int, "a1": int},
    "an alias like a spelling": {"user_id": int, "x": Annotated[int, Field(alias="userId")]},
    "an alias like a name": {"user_id": int, "x": Annotated[int, Field(alias="user_id")]},
    "an alias for reading": {"user_id": int, "x": Annotated[int, Field(validation_alias="UserId")]},
    "an alias for writing": {"user_id": int, "x": Annotated[int, Field(serialization_alias="UserId")]},
    "two aliases": {"x": Annotated[int, Field(alias="Id")], "y": Annotated[int, Field(alias="Id")]},
}


@pytest.mark.parametrize("fields", COLLIDING.values(), ids=COLLIDING)
def test_fields_that_collide_are_refused_when_the_class_is_made(fields: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=r"Named has fields that collide: '\w+' and '\w+' .*alias="):
        made({}, **{name: (kind, ...) for name, kind in fields.items()})


def test_those_inside_a_plain_type_are_refused_too() -> None:
    class Colliding(TypedDict):
        user_id: int
        userId: int

    with pytest.raises(DeclarationError, match="collide"):
        made({}, inside=(Colliding, ...))


def test_an_alias_of_ones_own_settles_it() -> None:
    model = made({}, user_id=(int, Field(alias="user")), userId=(int, ...))
    assert codec_for(model).decode(b'{"user":1,"userId":2}').userId == 2


class Dog(ConvexMessage):
    pet_kind: Literal["dog"]
    weight_kg: Decimal = Decimal(1)


class Cat(ConvexMessage):
    pet_kind: Literal["cat"]


Pet = Annotated[Dog | Cat, Field(discriminator="pet_kind")]


@pytest.mark.parametrize("name", ["PetKind", "petKind", "pet_kind"])
def test_a_discriminator_is_found_in_every_spelling(name: str) -> None:
    class Visit(ConvexMessage):
        pet: Pet
        others: list[Pet] = []

    pet = b'{"%s":"dog"}' % name.encode()
    assert codec_for(Pet).decode(pet) == Dog(pet_kind="dog")
    assert codec_for(Visit).decode(b'{"pet":%s,"Others":[%s]}' % (pet, pet)).others == [Dog(pet_kind="dog")]


def test_an_error_tells_the_known_tags_and_not_the_one_that_came() -> None:
    for annotation in (Pet, list[Pet], Pet | None):
        value = b'{"PetKind":"s3cr3t"}'
        with pytest.raises(DecodeError, match="tag should be one of 'dog', 'cat'") as refusal:
            codec_for(annotation).decode(b"[%s]" % value if annotation == list[Pet] else value)
        assert "s3cr3t" not in str(refusal.value)


def test_openapi_shows_pascal_case_alone() -> None:
    class Visit(ConvexMessage):
        the_pet: Pet
        the_row: Row
        the_point: Point
        user_id: int

    for mode in ("validation", "serialization"):
        schema = Visit.model_json_schema(mode=mode)
        shown = [schema["properties"], *(one["properties"] for one in schema["$defs"].values())]
        assert {name for properties in shown for name in properties} == {
            *("ThePet", "TheRow", "ThePoint", "UserId", "FirstOne", "PetKind", "WeightKg")
        }
        assert schema["properties"]["ThePet"]["discriminator"]["propertyName"] == "PetKind"
