"""What a ConvexMessage looks like on the wire, and what it is read from."""

from __future__ import annotations

import dataclasses
import json
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, computed_field, create_model, field_serializer
from pydantic.alias_generators import to_pascal
from typing_extensions import TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import codec_for, encode, message_type

GOLDEN = Path(__file__).parent / "golden"

decimals = st.decimals(allow_nan=False, allow_infinity=False)
T = TypeVar("T")


class Currency(Enum):
    EUR = "eur"


class Leg(ConvexMessage):
    selection_id: int
    odds: Decimal


@dataclasses.dataclass
class Fee:
    amount: Decimal
    parts: list[Fee] = dataclasses.field(default_factory=list)


class Tax(TypedDict):
    rate: Decimal


class Limits(NamedTuple):
    low: Decimal
    high: Decimal


class Plain(BaseModel):
    snake_name: Decimal


class BetPlaced(ConvexMessage):
    """One field of every kind."""

    bet_id: int
    stake: Decimal
    placed_at: datetime
    in_local_time: datetime
    without_offset: datetime
    on_day: date
    at_time: time
    after: timedelta
    reference: uuid.UUID
    currency: Currency
    is_live: bool
    price: float
    comment: str
    kind: Literal["single", "multi"]
    nothing: str | None
    perhaps: Decimal | None
    either: Decimal | str
    legs: list[Leg]
    by_name: dict[str, Decimal]
    by_decimal: dict[Decimal, int]
    pair: tuple[Decimal, int]
    fee: Fee
    tax: Tax
    limits: Limits
    plain: Plain
    anything: Any
    bag: dict[Any, Any]
    heap: list[Any]
    proof: bytes
    proofs: dict[str, list[bytes | None]]
    pause: timedelta | None


def a_bet() -> BetPlaced:
    return BetPlaced(
        bet_id=9_007_199_254_740_993,
        stake=Decimal("100.00"),
        placed_at=datetime(2026, 1, 1, 0, 0, 0, 123456, UTC),
        in_local_time=datetime(2026, 1, 1, 2, 0, tzinfo=timezone(timedelta(hours=2))),
        without_offset=datetime(2026, 1, 1),  # noqa: DTZ001 - a time that says nothing of its offset is the point
        on_day=date(2026, 1, 1),
        at_time=time(12, 30),
        after=timedelta(minutes=90),
        reference=uuid.UUID(int=1),
        currency=Currency.EUR,
        is_live=True,
        price=0.1,
        comment='ñ "quoted" \x00 €',
        kind="single",
        nothing=None,
        perhaps=Decimal("1E+3"),
        either=Decimal("0.10"),
        legs=[Leg(selection_id=1, odds=Decimal("1.50")), Leg(selection_id=2, odds=Decimal("1E-9"))],
        by_name={"a": Decimal("0.00")},
        by_decimal={Decimal("2.50"): 1},
        pair=(Decimal("-0"), 2),
        fee=Fee(Decimal("0.30"), [Fee(Decimal("0.20"))]),
        tax={"rate": Decimal("0.210")},
        limits=Limits(Decimal("1.0"), Decimal("123456789012345678901234567890.12")),
        plain=Plain(snake_name=Decimal("7.70")),
        anything=[Decimal("1.10"), {"q": Decimal("2.20")}],
        bag={"z": Decimal("3.30")},
        heap=[Decimal("4.40"), Leg(selection_id=3, odds=Decimal("5.50")), b"\xff", timedelta(days=1)],
        proof=b"\x01\x02\x03\xff",
        proofs={"a": [b"\xfb\xff\xfe", None]},
        pause=-timedelta(days=1, hours=2, minutes=3, seconds=4.5),
    )


def test_every_kind_of_field_has_the_golden_bytes() -> None:
    assert encode(a_bet()) == (GOLDEN / "bet_placed.json").read_bytes().strip()


def test_every_kind_of_field_comes_back() -> None:
    back = codec_for(BetPlaced).decode(encode(a_bet()))
    assert back.model_dump(exclude={"anything", "bag", "heap"}) == a_bet().model_dump(
        exclude={"anything", "bag", "heap"}
    )
    assert str(back.stake) == "100.00"


def test_its_own_dump_is_what_goes_on_the_wire() -> None:
    assert a_bet().model_dump_json().encode() == encode(a_bet())
    assert Leg(selection_id=1, odds=Decimal("1.50")).model_dump_json(indent=1) == (
        '{\n "SelectionId": 1,\n "Odds": 1.50\n}'
    )


def test_a_dump_with_a_context_of_the_users_own_keeps_it() -> None:
    class Asking(ConvexMessage):
        amount: Decimal

        @field_serializer("amount", mode="wrap")
        def with_unit(self, value: Decimal, written: Any, info: Any) -> str:
            return f"{written(value)} {info.context['unit']}"

    assert Asking(amount=Decimal("1.00")).model_dump_json(context={"unit": "EUR"}) == '{"Amount":"1.00 EUR"}'


def test_a_context_that_is_no_dict_gives_pydantics_own_encoding() -> None:
    assert Leg(selection_id=1, odds=Decimal("1.50")).model_dump_json(context=1) == (
        '{"SelectionId":1,"Odds":"1.50"}'
    )


def test_other_dumps_are_pydantics_own() -> None:
    leg = Leg(selection_id=1, odds=Decimal("1.50"))
    assert leg.model_dump(mode="json") == {"SelectionId": 1, "Odds": "1.50"}
    assert leg.model_dump() == {"SelectionId": 1, "Odds": Decimal("1.50")}


def test_names_are_read_in_pascal_case_and_as_they_are_and_others_are_ignored() -> None:
    decode = codec_for(Leg).decode
    leg = Leg(selection_id=1, odds=Decimal("1.50"))
    assert decode(b'{"SelectionId": 1, "Odds": 1.50, "Unknown": {"a": [1]}}') == leg
    assert decode(b'{"selection_id": 1, "odds": 1.50}') == leg


@settings(deadline=None)
@given(st.from_regex(r"[a-z][a-z0-9]{0,8}(_[a-z][a-z0-9]{0,8}){0,3}", fullmatch=True), st.integers())
def test_any_snake_case_name_goes_out_in_pascal_case_and_comes_back(name: str, number: int) -> None:
    if hasattr(ConvexMessage, name):
        return
    model = create_model("Message", __base__=ConvexMessage, **{name: (int, ...)})  # type: ignore[call-overload]
    message = model(**{name: number})
    written = encode(message)
    assert list(json.loads(written)) == [to_pascal(name)]
    assert "_" not in to_pascal(name)
    if abs(number) < 10**4000:
        assert codec_for(model).decode(written) == message


@settings(deadline=None)
@given(decimals)
@example(Decimal("-0"))
@example(Decimal("1E+400"))
@example(Decimal("1E+401"))
@example(Decimal(f"-0.{'7' * 400}"))
@example(Decimal("7" * 401))
def test_a_decimal_is_a_number_with_its_digits_intact_or_is_refused(number: Decimal) -> None:
    message = Leg(selection_id=1, odds=number)
    if abs(number.adjusted()) > 400 or len(number.as_tuple().digits) > 400:
        with pytest.raises(EncodeError, match="digits, or with an exponent"):
            encode(message)
        return
    written = encode(message)
    assert written == b'{"SelectionId":1,"Odds":%s}' % str(number).encode()
    assert json.loads(written, parse_float=Decimal, parse_int=Decimal)["Odds"] == number
    back = codec_for(Leg).decode(written)
    assert str(back.odds) == str(number).replace("-0", "0") if number.is_zero() else str(number)


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_in_utc_ends_in_z_and_comes_back(moment: datetime) -> None:
    class Event(ConvexMessage):
        at: datetime

    written = encode(Event(at=moment))
    assert written.endswith(b'Z"}')
    assert codec_for(Event).decode(written).at == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T00:00:00.1234567Z", datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)),
        ("2026-01-01T00:00:00.9999999Z", datetime(2026, 1, 1, 0, 0, 0, 999999, UTC)),
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T02:00:00.5+02:00", datetime(2026, 1, 1, 0, 0, 0, 500000, UTC)),
    ],
)
def test_times_as_dotnet_writes_them_are_read_with_or_without_decimals_beside_them(
    text: str, moment: datetime
) -> None:
    class Event(ConvexMessage):
        at: datetime

    class Payment(Event):
        amount: Decimal = Decimal(0)

    assert codec_for(Event).decode(b'{"At":"%s"}' % text.encode()).at == moment
    assert codec_for(Payment).decode(b'{"At":"%s"}' % text.encode()).at == moment


class Level(IntEnum):
    HIGH = 3


GUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"

DOTNET: list[tuple[Any, str, Any, str]] = [
    (timedelta, '"00:00:00"', timedelta(0), '"00:00:00"'),
    (timedelta, '"6.12:14:45.3448000"', timedelta(days=6, hours=12, minutes=14, seconds=45.3448), ""),
    (timedelta, '"-00:00:00.0000001"', timedelta(0), '"00:00:00"'),
    (bytes, '"AQID/+4="', b"\x01\x02\x03\xff\xee", ""),
    (datetime, '"2026-01-01T00:00:00+00:00"', datetime(2026, 1, 1, tzinfo=UTC), '"2026-01-01T00:00:00Z"'),
    (
        datetime,
        '"2026-01-01T02:00:00.1234567+02:00"',
        datetime(2026, 1, 1, 0, 0, 0, 123456, UTC),
        '"2026-01-01T02:00:00.123456+02:00"',
    ),
    (datetime, '"0001-01-01T00:00:00+00:00"', datetime(1, 1, 1, tzinfo=UTC), '"0001-01-01T00:00:00Z"'),
    (
        datetime,
        '"9999-12-31T23:59:59.9999999+00:00"',
        datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        '"9999-12-31T23:59:59.999999Z"',
    ),
    (uuid.UUID, '"00000000-0000-0000-0000-000000000001"', uuid.UUID(int=1), ""),
    (
        uuid.UUID,
        '"{0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0}"',
        uuid.UUID(GUID),
        f'"{GUID}"',
    ),
    (
        uuid.UUID,
        '"0f1e2d3c4b5a69788796a5b4c3d2e1f0"',
        uuid.UUID(GUID),
        f'"{GUID}"',
    ),
    (Level, "3", Level.HIGH, ""),
    (Currency, '"eur"', Currency.EUR, ""),
]


@pytest.mark.parametrize("beside", [{}, {"amount": (Decimal, Decimal("1.10"))}], ids=["alone", "decimal"])
@pytest.mark.parametrize(("kind", "text", "value", "written"), DOTNET, ids=[text for _, text, *_ in DOTNET])
def test_dotnets_documented_forms_are_read_and_written(
    kind: Any, text: str, value: Any, written: str, beside: Any
) -> None:
    model = create_model("Event", __base__=ConvexMessage, it=(kind, ...), **beside)
    read = codec_for(model).decode(b'{"It":%s}' % text.encode())
    assert read.it == value
    assert encode(read).startswith(b'{"It":%s' % (written or text).encode())


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinities_are_refused_when_made_and_when_written(number: float) -> None:
    class Price(ConvexMessage):
        price: float
        exact: Decimal | None = None
        anything: Any = None

    with pytest.raises(ValidationError):
        Price(price=number)
    with pytest.raises(EncodeError, match="Price"):
        encode(Price.model_construct(price=number))
    with pytest.raises(EncodeError, match="Price"):
        encode(Price.model_construct(price=1.0, exact=Decimal(number)))
    with pytest.raises(EncodeError, match="Price"):
        encode(Price(price=1.0, anything={"deep": [number]}))
    assert encode(Price(price=1.0, anything="NaN")) == b'{"Price":1.0,"Exact":null,"Anything":"NaN"}'


def test_a_value_of_another_type_in_a_decimals_place_is_written_as_pydantic_would() -> None:
    with pytest.warns(UserWarning, match="expected a Decimal"):
        assert encode(Leg.model_construct(selection_id=1, odds=1.5)) == b'{"SelectionId":1,"Odds":1.5}'


def test_what_a_serialiser_of_the_users_own_makes_of_a_decimal_stays_text() -> None:
    class Priced(ConvexMessage):
        amount: Decimal

        @computed_field  # type: ignore[prop-decorator]
        @property
        def twice(self) -> Decimal:
            return self.amount * 2

        @field_serializer("amount", mode="wrap")
        def with_unit(self, value: Decimal, written: Any) -> str:
            return f"{written(value)} EUR"

    assert encode(Priced(amount=Decimal("1.00"))) == b'{"Amount":"1.00 EUR","Twice":2.00}'


def test_generic_and_recursive_messages_keep_digits() -> None:
    class Envelope(ConvexMessage, Generic[T]):
        data: T

    class Tree(ConvexMessage):
        weight: Decimal
        children: list[Tree] = []

    assert encode(Envelope[Decimal](data=Decimal("1.00"))) == b'{"Data":1.00}'
    assert encode(Envelope[Any](data=Decimal("1.00"))) == b'{"Data":1.00}'
    Tree.model_rebuild(_types_namespace={"Tree": Tree})
    tree = Tree(weight=Decimal("1.00"), children=[Tree(weight=Decimal("2.00"))])
    assert encode(tree) == b'{"Weight":1.00,"Children":[{"Weight":2.00,"Children":[]}]}'
    assert codec_for(Tree).decode(encode(tree)) == tree


def test_unions_of_messages_are_told_apart() -> None:
    class Dog(ConvexMessage):
        kind: Literal["dog"] = "dog"
        weight: Decimal

    class Cat(ConvexMessage):
        kind: Literal["cat"] = "cat"
        weight: float

    class Visit(ConvexMessage):
        pet: Dog | Cat = Field(discriminator="kind")
        other: Dog | Cat | Decimal | None = None

    visit = Visit(pet=Dog(weight=Decimal("7.50")), other=Cat(weight=4.5))
    written = b'{"Pet":{"Kind":"dog","Weight":7.50},"Other":{"Kind":"cat","Weight":4.5}}'
    assert encode(visit) == written
    assert codec_for(Visit).decode(written) == visit


def test_inside_other_models_and_containers_it_stays_itself() -> None:
    class Holder(BaseModel):
        inner_leg: Leg
        own: Decimal

    leg = Leg(selection_id=1, odds=Decimal("1.50"))
    text = b'{"SelectionId":1,"Odds":1.50}'
    assert encode(Holder(inner_leg=leg, own=Decimal("1.50"))) == b'{"inner_leg":%s,"own":"1.50"}' % text
    assert encode({"leg": leg, "more": [leg]}) == b'{"leg":%s,"more":[%s]}' % (text, text)


@settings(deadline=None)
@given(st.text())
def test_no_text_is_taken_for_a_number(text: str) -> None:
    class Note(ConvexMessage):
        text: str
        amount: Decimal

    assert codec_for(Note).decode(encode(Note(text=text, amount=Decimal("1.0")))).text == text


def test_the_message_type_is_the_name_of_the_class() -> None:
    assert message_type(Leg(selection_id=1, odds=Decimal(1))) == "Leg"
    assert message_type({}) == "dict"
    assert message_type("x") == "str"
    assert message_type(b"x") is None
