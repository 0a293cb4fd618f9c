"""What a handler's annotation reads, and that hostile bytes raise nothing but DecodeError."""

from __future__ import annotations

import dataclasses
import inspect
import re
import traceback
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    StrictInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType, TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import DeclarationError, DecodeError
from convex_messaging_fastapi.messages import codec_for, encode
from convex_messaging_fastapi.messages.plain import numbers_in
from convex_messaging_fastapi.messages.validation_errors import validation_text

SECRET = "s3cr3t-payload"


class UserCreated(ConvexMessage):
    user_id: int
    email: str
    created_at: datetime


class BetPlaced(ConvexMessage):
    bet_id: int
    stake: Decimal
    tags: dict[str, int] = {}


class Measured(BaseModel):
    value: float


class Row(TypedDict):
    price: Decimal


class Pair(NamedTuple):
    a: int
    b: Decimal


@dataclasses.dataclass
class Point:
    x: Decimal
    at: datetime


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (inspect.Parameter.empty, b'{"a":[1,2.5,null]}', {"a": [1, 2.5, None]}),
        (Any, b'"x"', "x"),
        (object, b'{"a":[1,2.5,null]}', {"a": [1, 2.5, None]}),
        (dict, b'{"a":1.5}', {"a": 1.5}),
        (str, b'"x"', "x"),
        (int, b"7", 7),
        (list[int], b"[1,2]", [1, 2]),
        (Decimal, b"100.00", Decimal("100.00")),
        (bytes, b"\xff", b"\xff"),
        (Row, b'{"price":1.50}', {"price": Decimal("1.50")}),
        (Pair, b"[1,2.50]", Pair(1, Decimal("2.50"))),
        (
            Point,
            b'{"x":1.50,"at":"2026-01-01T00:00:00Z"}',
            Point(Decimal("1.50"), datetime(2026, 1, 1, tzinfo=UTC)),
        ),
        (UserCreated | None, b"null", None),
        (
            Annotated[BetPlaced, "a note"],
            b'{"BetId":1,"Stake":2.50}',
            BetPlaced(bet_id=1, stake=Decimal("2.50")),
        ),
    ],
    ids=str,
)
def test_an_annotation_says_what_is_read(annotation: Any, value: bytes, message: Any) -> None:
    decoded = codec_for(annotation).decode(value)
    assert decoded == message
    assert [str(n) for n in numbers_in(decoded)] == [str(n) for n in numbers_in(message)]  # digits matter


def test_digits_survive_beside_every_other_kind_of_field() -> None:
    class Everything(BaseModel):
        amount: Decimal
        day: date
        clock: time
        span: timedelta
        id: uuid.UUID
        colour: Colour
        kind: Literal["a", "b"]
        pair: tuple[int, Decimal]
        unique: set[int]
        raw: bytes
        ratio: float
        whole: int
        flag: bool
        link: pydantic.HttpUrl
        nested: Json[list[int]]
        anything: Any
        address: IPv4Address
        place: Path
        alias: int = Field(validation_alias=AliasChoices("other", AliasPath("deep", 0)))

    decoded = codec_for(Everything).decode(
        b'{"amount":12345678901234567890.123456789,"day":"2026-01-01","clock":"12:00","span":"PT1H","id":'
        b'"00000000-0000-0000-0000-000000000001","colour":"red","kind":"a","pair":[1,0.10],"unique":[1,1],'
        b'"raw":"x","ratio":0.5,"whole":2.0,"flag":true,"link":"https://example.com","nested":"[1]",'
        b'"anything":{"q":1.10},"address":"10.0.0.1","place":"/tmp/x","deep":[5]}'
    )
    assert decoded.amount == Decimal("12345678901234567890.123456789")
    assert decoded.pair == (1, Decimal("0.10"))
    assert (decoded.ratio, decoded.whole, decoded.unique, decoded.raw) == (0.5, 2, {1}, b"x")
    assert decoded.span == timedelta(hours=1)
    assert (decoded.address, decoded.place, decoded.alias) == (IPv4Address("10.0.0.1"), Path("/tmp/x"), 5)  # noqa: S108
    assert decoded.anything == {"q": Decimal("1.10")}


@pytest.mark.parametrize(
    "annotation", [UserCreated, inspect.Parameter.empty, bytes, dict, list[int]], ids=str
)
def test_a_null_value_is_refused_and_the_sentence_says_what_it_means(annotation: Any) -> None:
    with pytest.raises(DecodeError, match="tombstone"):
        codec_for(annotation).decode(None)


@pytest.mark.parametrize(
    "annotation",
    [
        *(UserCreated | None, bytes | None, Annotated[BetPlaced | None, "x"], Any | None),
        *(Any, object, Annotated[Any, "x"], Annotated[object, "x"], TypeAliasType("Maybe", BetPlaced | None)),
    ],
    ids=str,
)
def test_a_null_value_is_none_where_the_annotation_allows_it(annotation: Any) -> None:
    assert codec_for(annotation).decode(None) is None


def test_bytes_that_may_be_none_are_raw_too() -> None:
    assert codec_for(bytes | None).decode(b"null") == b"null"


@pytest.mark.parametrize("annotation", [UserCreated, BetPlaced, Any])
def test_a_byte_order_mark_is_passed_over_once(annotation: Any) -> None:
    decode = codec_for(annotation).decode
    plain = b'{"UserId":1,"Email":"a","CreatedAt":"2026-01-01T00:00:00Z","BetId":1,"Stake":1.0}'
    assert decode(b"\xef\xbb\xbf" + plain) == decode(plain)
    for wrong in (b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2 + plain):
        with pytest.raises(DecodeError):
            decode(wrong)


def test_of_a_key_that_comes_twice_the_last_wins() -> None:
    assert codec_for(BetPlaced).decode(b'{"BetId":1,"BetId":2,"Stake":1}').bet_id == 2
    assert codec_for(Any).decode(b'{"a":1,"a":2}') == {"a": 2}


HOSTILE = {
    "empty": b"",
    "not json": b"hello",
    "cut off": b'{"UserId":',
    "two values": b"{} {}",
    "bad utf-8": b'{"Email":"\xff"}',
    "utf-16": '{"UserId":1}'.encode("utf-16"),
    "half a surrogate pair": b'{"Email":"\\ud800"}',
    "wrong schema": b'{"UserId":"x"}',
    "wrong shape": b"[]",
    "null": b"null",
    "10,000 levels": b"[" * 10_000,
    "10,000 levels, closed": b'{"Tags":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "integer of 5,000 digits": b'{"UserId":%s,"BetId":%s}' % (b"1" * 5000, b"1" * 5000),
    "NaN": b'{"UserId":1,"Email":"a","CreatedAt":"2026-01-01T00:00:00Z","BetId":1,"Stake":1,"X":NaN}',
    "Infinity": b'{"UserId":1,"Email":"a","CreatedAt":"2026-01-01T00:00Z","BetId":1,"Stake":1,"X":-Infinity}',
    "one MiB of nothing": b"x" * 1024 * 1024,
    "one MiB of commas": b"[" + b"{}," * 349_000 + b"{}]",
    "an exponent beyond any decimal": b'{"BetId":1,"Stake":1e99999999999999999999}',
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("annotation", [UserCreated, BetPlaced])
def test_hostile_bytes_are_refused_in_one_short_line(annotation: Any, value: bytes) -> None:
    with pytest.raises(DecodeError) as refusal:
        codec_for(annotation).decode(value)
    assert len(str(refusal.value)) < 1200
    assert str(refusal.value).isprintable()
    assert annotation.__name__ in str(refusal.value)


@pytest.mark.parametrize("field", ["BetId", "Stake", "Tags"])
@pytest.mark.parametrize("exponent", ["401", "-401", "+9999999", "-9999999", "999999999"])
def test_an_exponent_that_would_take_seconds_to_unfold_is_refused(field: str, exponent: str) -> None:
    value = f'{{"BetId":1,"Stake":1,"{field}":1e{exponent}}}'
    with pytest.raises(DecodeError, match="exponent"):
        codec_for(BetPlaced).decode(value.encode())


def test_what_only_looks_like_a_large_exponent_is_read() -> None:
    class Named(BetPlaced):
        name: str
        ratio: float = 0.5

    named = codec_for(Named).decode(b'{"BetId":1,"Stake":1e400,"Name":"1e9999","Ratio":0.25}')
    assert (named.name, named.stake) == ("1e9999", Decimal("1e400"))


@pytest.mark.parametrize(
    "annotation", [float, Any, dict, Measured, list[float], list[Measured], Point | Measured], ids=str
)
@pytest.mark.parametrize(
    "number", [b"1e400", b"-1E+400", b"1" * 400 + b".5", b"NaN", b"Infinity"], ids=lambda n: n[:9]
)
def test_a_number_that_no_float_can_hold_is_refused(annotation: Any, number: bytes) -> None:
    wrapped = {float: b"%s", list[float]: b"[%s]", list[Measured]: b'[{"value":%s}]'}.get(
        annotation, b'{"value":%s}'
    )
    with pytest.raises(DecodeError):
        codec_for(annotation).decode(wrapped % number)


def test_words_that_are_no_numbers_are_text() -> None:
    assert codec_for(dict).decode(b'{"a":"NaN","b":"1e999"}') == {"a": "NaN", "b": "1e999"}


def test_an_error_never_repeats_the_payload() -> None:
    class Pet(ConvexMessage):
        kind: Literal["dog"]

    class Cat(ConvexMessage):
        kind: Literal["cat"]

    class Careless(ConvexMessage):
        stake: int
        tags: dict[str, int] = {}
        pet: Annotated[Pet | Cat, Field(discriminator="kind")] | None = None
        colour: Colour | None = None
        link: pydantic.HttpUrl | None = None
        id: uuid.UUID | None = None
        when: datetime | None = None
        many: list[str] = []

        @field_validator("stake", mode="before")
        @classmethod
        def quote(cls, value: Any) -> Any:
            if value == SECRET:
                raise ValueError(f"bad {value}")
            return value

        @field_validator("many")
        @classmethod
        def blow_up(cls, value: list[str]) -> list[str]:
            if value:
                raise KeyError(value[0])
            return value

        @model_validator(mode="after")
        def check(self) -> Careless:
            if self.stake == 13:
                raise ValueError(f"tags {self.tags}")
            return self

    decode = codec_for(Careless).decode
    quoted = b'"%s"' % SECRET.encode()
    for field in (b"Stake", b"Tags", b"Pet", b"Colour", b"Link", b"Id", b"When", quoted.strip(b'"')):
        _refused(decode, b'{"Stake":"x","%s":%s}' % (field, quoted))
    _refused(decode, b'{"Stake":%s}' % quoted)
    _refused(decode, b'{"Stake":1,"Many":[%s]}' % quoted)
    _refused(decode, b'{"Stake":1,"Tags":{%s:"x"}}' % quoted)
    _refused(decode, b'{"Stake":1,"Pet":{"Kind":%s}}' % quoted)
    _refused(decode, quoted)
    _refused(decode, quoted + b"x")


def _refused(decode: Callable[[bytes], Any], value: bytes) -> None:
    with pytest.raises(DecodeError) as refusal:
        decode(value)
    assert SECRET not in "".join(traceback.format_exception(refusal.value))


def test_an_error_names_the_fields() -> None:
    class Bet(ConvexMessage):
        stake: Decimal
        legs: list[BetPlaced] = []

    with pytest.raises(DecodeError, match=r"^the value is no Bet: Legs\.0\.Stake: Field required"):
        codec_for(Bet).decode(b'{"Stake":1,"Legs":[{"BetId":1}]}')


CARD = "de89 3704 0044 0532 0130 00"

SENTENCES: dict[str, Callable[[str], Exception]] = {
    "as it came": lambda v: ValueError(f"card {v}"),
    "without blanks": lambda v: ValueError(f"IBAN {v.replace(' ', '')} has a wrong checksum"),
    "in capitals": lambda v: ValueError(f"{v.upper()} is no card"),
    "half of it": lambda v: ValueError(f"it ends in {v[-12:]}"),
    "backwards": lambda v: ValueError(v[::-1]),
    "an assertion": lambda v: AssertionError(f"{v.title()} is closed"),
    "an error of its own": lambda v: PydanticCustomError("card", "{card} is closed", {"card": v}),
    "a kind of its own": lambda v: PydanticCustomError(f"card_{v}", "is closed"),
    "an exception of another kind": lambda v: LookupError(v.replace(" ", "-")),
    "a sentence without any": lambda v: ValueError("always"),
}


@pytest.mark.parametrize("sentence", SENTENCES.values(), ids=SENTENCES)
def test_of_what_a_validator_says_the_kind_and_the_place_are_told(
    sentence: Callable[[str], Exception],
) -> None:
    class Paid(ConvexMessage):
        card: str

        @field_validator("card")
        @classmethod
        def check(cls, value: str) -> str:
            raise sentence(value)

    with pytest.raises(DecodeError) as refusal:
        codec_for(Paid).decode(b'{"Card":"%s"}' % CARD.encode())
    told = "".join(traceback.format_exception(refusal.value)).lower()
    assert re.search(r"(card: refused|reading it raised lookuperror)", told)
    assert not [word for word in ("3704", "0532", "2350", "always") if word in told]


def test_keys_that_are_numbers_are_not_told() -> None:
    with pytest.raises(ValidationError) as refusal:
        TypeAdapter(dict[int, int]).validate_python({4111111111111111: "x"})
    assert validation_text(refusal.value).startswith("?: Input should be a valid integer")


def test_of_many_problems_five_are_told_and_of_too_many_their_number() -> None:
    with pytest.raises(DecodeError, match="and 5 more"):
        codec_for(list[int]).decode(b"[" + b'"a",' * 9 + b'"a"]')
    with pytest.raises(DecodeError, match=r"list\[int\]: 5001 problems$"):
        codec_for(list[int]).decode(b"[" + b'"a",' * 5000 + b'"a"]')


PIECES = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"1",
        b"e",
        b"9" * 9,
        b".",
        b"-",
        b"null",
        b"NaN",
        b"\\u",
        b"\xff",
    ),
    *(b'"BetId"', b'"Stake"', b'"UserId"', b'"value"', b'"x"', b"\xef\xbb\xbf", b"true", b" ", b"\x00"),
)


@pytest.mark.parametrize(
    "annotation",
    [UserCreated, BetPlaced, Any, dict, bytes, Measured, Point, Row, list[int], BetPlaced | None],
    ids=str,
)
def test_any_bytes_are_read_or_refused(annotation: Any) -> None:
    decode = codec_for(annotation).decode
    pieces = st.sampled_from(PIECES)

    @settings(deadline=None)
    @given(st.binary() | st.lists(pieces, max_size=30).map(b"".join))
    def check(value: bytes) -> None:
        with suppress(DecodeError):
            decode(value)

    check()


class Ring(ConvexMessage):
    amount: Decimal
    link: Link | None = None


@dataclasses.dataclass
class Link:
    weight: Decimal
    rings: list[Ring]


def test_messages_and_dataclasses_that_contain_each_other_are_read_and_written() -> None:
    link = codec_for(Link).decode(b'{"weight":1.50,"rings":[{"Amount":2.50,"Link":null}]}')
    assert link == Link(Decimal("1.50"), [Ring(amount=Decimal("2.50"))])
    assert encode(Ring(amount=Decimal("3.50"), link=link)) == (
        b'{"Amount":3.50,"Link":{"Weight":1.50,"Rings":[{"Amount":2.50,"Link":null}]}}'
    )


class TestDeclarations:
    """Annotations that cannot be read are refused when the handler is declared."""

    def test_what_pydantic_cannot_validate(self) -> None:
        class Opaque: ...

        for annotation in (Opaque, list[Opaque]):
            with pytest.raises(DeclarationError, match="Use a pydantic model") as refusal:
                codec_for(annotation)
            assert "\n" not in str(refusal.value)

    def test_a_model_that_names_unknown_types(self) -> None:
        class Dangling(BaseModel):
            other: Unknown  # type: ignore[name-defined]  # noqa: F821

        with pytest.raises(DeclarationError, match="Dangling"):
            codec_for(Dangling)

    def test_decimals_in_strict_mode(self) -> None:
        class Strict(BaseModel):
            model_config = ConfigDict(strict=True)
            stake: Decimal

        class StrictDates(BaseModel):
            stake: Decimal
            at: datetime = Field(strict=True)

        class StrictPart(BaseModel):
            stake: Decimal
            parts: list[StrictWithout]

        for annotation in (Strict, StrictDates, StrictPart, Strict | None, dict[str, list[Strict]]):
            with pytest.raises(DeclarationError, match=r"Field\(strict=False\)"):
                codec_for(annotation)

    def test_decimals_beside_bytes_in_base64(self) -> None:
        class Blob(BaseModel):
            model_config = ConfigDict(val_json_bytes="base64")
            stake: Decimal
            raw: bytes

        with pytest.raises(DeclarationError, match="val_json_bytes"):
            codec_for(Blob)

    def test_strict_mode_that_does_no_harm_is_taken(self) -> None:
        class StrictNumbers(BaseModel):
            model_config = ConfigDict(strict=True)
            count: int
            ratio: float
            names: list[str]

        class Relaxed(BaseModel):
            model_config = ConfigDict(strict=True)
            stake: Decimal = Field(strict=False)
            count: StrictInt
            numbers: StrictNumbers

        relaxed = codec_for(Relaxed).decode(
            b'{"stake":1,"count":2,"numbers":{"count":1,"ratio":0.5,"names":["a"]}}'
        )
        assert relaxed.stake == 1
        assert codec_for(StrictWithout).decode(b'{"at":"2026-01-01T00:00:00Z"}').at.year == 2026


class StrictWithout(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime
