"""A union of models is read as the one that the message-type header names."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar

import pytest
from pydantic import AfterValidator, BaseModel, Field
from pydantic import dataclasses as pydantic_dataclasses
from typing_extensions import TypeAliasType, TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import DeclarationError, DecodeError
from convex_messaging_fastapi.messages import codec_for, encode, message_type
from convex_messaging_fastapi.messages.bounds import Bounds
from convex_messaging_fastapi.records import Headers

T = TypeVar("T")


class Shipped(ConvexMessage, message_type="OrderShipped", reads=("ShippedV1", "Shop.Old.Sent")):
    order_id: int


class Cancelled(ConvexMessage):
    order_id: int


class WithDecimal(ConvexMessage):
    order_id: int
    amount: Decimal = Decimal(0)


class Plain(BaseModel):
    order_id: int = Field(alias="OrderId")


class Envelope(ConvexMessage, Generic[T]):
    data: T


@dataclasses.dataclass
class Point:
    OrderId: int


@pydantic_dataclasses.dataclass
class Line:
    OrderId: int


class Row(TypedDict):
    OrderId: int


ORDER = b'{"OrderId":7}'
Alias = TypeAliasType("Alias", Shipped | Cancelled)


def named(name: str | bytes | None) -> Headers:
    value = name.encode() if isinstance(name, str) else name
    return (("x", b"Shipped"), ("message-type", b"Nothing"), ("message-type", value))


UNIONS: dict[str, Any] = {
    "plain": Shipped | Cancelled,
    "optional": Shipped | Cancelled | None,
    "old spelling": Optional[Shipped | Cancelled],  # noqa: UP045 - it is another kind of object
    "annotated": Annotated[Cancelled | Shipped, "a note"],
    "annotated inside": Annotated[Cancelled, "a note"] | Annotated[Shipped | None, Field(description="x")],
    "an alias": Alias,
    "an alias inside": Annotated[Alias | None, "a note"],
    "more": Cancelled | WithDecimal | Point | Line | Row | Plain | Shipped,
    "beside what has no name": dict[str, int] | int | Shipped | Cancelled | str,
}


@pytest.mark.parametrize("annotation", UNIONS.values(), ids=UNIONS)
@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("OrderShipped", Shipped),
        ("ShippedV1", Shipped),
        ("Sent", Shipped),
        ("Cancelled", Cancelled),
        ("Shop.Orders.Cancelled", Cancelled),
        ("Cancelled`1[[System.Int32, mscorlib]]", Cancelled),
        ("Shop.Cancelled, Shop, Version=1.0.0.0", Cancelled),
    ],
)
def test_the_header_chooses_the_member(annotation: Any, header: str, kind: type) -> None:
    assert codec_for(annotation).decode(ORDER, named(header)) == kind(order_id=7)
    assert codec_for(annotation).within(Bounds(100)).decode(ORDER, named(header)) == kind(order_id=7)


@pytest.mark.parametrize("kind", [Point, Line, Row, Plain, WithDecimal], ids=str)
def test_models_of_every_kind_have_a_name(kind: Any) -> None:
    read = codec_for(Shipped | kind).decode(ORDER, named(kind.__name__))
    assert isinstance(read, dict if kind is Row else kind)


def test_what_is_published_is_named_so() -> None:
    assert message_type(Shipped(order_id=1)) == "OrderShipped"
    assert message_type(Cancelled(order_id=1)) == "Cancelled"
    assert message_type(Envelope[Shipped](data=Shipped(order_id=1))) == "Envelope"
    assert message_type(Point(1)) == "Point"

    class Sub(Shipped):
        pass

    assert message_type(Sub(order_id=1)) == "Sub"


def test_a_generic_model_is_known_by_its_own_name() -> None:
    annotation = Envelope[int] | Shipped
    sent = Envelope[int](data=7)
    assert codec_for(annotation).decode(encode(sent), named(message_type(sent))) == sent
    assert codec_for(annotation).decode(encode(sent), named("Shop.Envelope`1[System.Int32]")) == sent


BLANK: list[Headers] = [(("message-type", name),) for name in (b" ", b"Shop.", b"`1[int]")]


@pytest.mark.parametrize(
    "headers", [(), (("message-type", None),), (("message-type", b""),), (("x", b"y"),), *BLANK]
)
def test_without_the_header_pydantic_decides(headers: Headers) -> None:
    assert codec_for(Shipped | Cancelled).decode(ORDER, headers) == Shipped(order_id=7)
    assert codec_for(Cancelled | Shipped).decode(ORDER, headers) == Cancelled(order_id=7)


def test_what_is_named_and_is_none_is_that_members_error() -> None:
    for annotation in (Shipped | Cancelled, Cancelled | Shipped | None):
        with pytest.raises(DecodeError, match=r"^the value is no Cancelled: OrderId: Field required$"):
            codec_for(annotation).decode(b"{}", named("Cancelled"))


@pytest.mark.parametrize("header", ["Returned", b"\xff\xfe", "dict", "s3cr3t"])
def test_a_header_that_names_none_is_an_error_that_tells_the_members(header: Any) -> None:
    with pytest.raises(DecodeError, match=r"OrderShipped.*Cancelled") as refusal:
        codec_for(Shipped | Cancelled | None).decode(ORDER, named(header))
    assert "s3cr3t" not in str(refusal.value)
    assert refusal.value.tells_kind_and_place_only


def test_beside_members_without_a_name_what_names_none_is_one_of_them() -> None:
    annotation = dict[str, int] | Shipped | Cancelled
    assert codec_for(annotation).decode(ORDER, named("dict")) == {"OrderId": 7}
    with pytest.raises(DecodeError, match="dict"):
        codec_for(annotation).decode(b"7", named("Other"))


def test_a_header_never_brings_in_what_is_no_member() -> None:
    assert codec_for(Shipped).decode(ORDER, named("Cancelled")) == Shipped(order_id=7)
    assert codec_for(Shipped | None).decode(ORDER, named("Cancelled")) == Shipped(order_id=7)
    assert codec_for(Any).decode(ORDER, named("Cancelled")) == {"OrderId": 7}
    assert codec_for(bytes).decode(ORDER, named("Cancelled")) == ORDER
    assert codec_for(list[Shipped | Cancelled]).decode(b"[%s]" % ORDER, named("Cancelled")) == [
        Shipped(order_id=7)
    ]


class One(ConvexMessage):
    kind: Literal["one"] = "one"


class Two(ConvexMessage):
    kind: Literal["two"] = "two"


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[One | Two, Field(discriminator="kind")],
        Annotated[One | Two, Field(discriminator="kind")] | None,
        Annotated[Annotated[One | Two, "a note"] | None, Field(discriminator="kind")],
    ],
    ids=str,
)
def test_a_discriminator_wins(annotation: Any) -> None:
    assert codec_for(annotation).decode(b'{"Kind":"two"}', named("One")) == Two()
    assert codec_for(annotation).decode(b'{"Kind":"two"}', named("Other")) == Two()


def test_two_members_of_one_name_are_refused() -> None:
    class Again(ConvexMessage, message_type="Shop.Cancelled"):
        order_id: int

    class Reads(ConvexMessage, reads=("Cancelled",)):
        order_id: int

    for annotation in (Cancelled | Again, Cancelled | Reads | None, Envelope[int] | Envelope[str]):
        with pytest.raises(DeclarationError, match=r"two members .* 'Cancelled|two members .* 'Envelope"):
            codec_for(annotation)


def test_what_is_annotated_around_a_union_holds_for_each_member() -> None:
    def doubled(message: Any) -> Any:
        return message.model_copy(update={"order_id": message.order_id * 2})

    annotation = Annotated[Shipped | Cancelled, AfterValidator(doubled)]
    assert codec_for(annotation).decode(ORDER, named("Cancelled")) == Cancelled(order_id=14)
    assert codec_for(annotation).decode(ORDER) == Shipped(order_id=14)


def test_null_is_taken_where_the_annotation_takes_it() -> None:
    assert codec_for(Shipped | Cancelled | None).decode(None, named("Cancelled")) is None
    assert codec_for(Shipped | Cancelled | None).decode(b"null", named("Cancelled")) is None
    with pytest.raises(DecodeError, match="tombstone"):
        codec_for(Shipped | Cancelled).decode(None, named("Cancelled"))


def test_a_members_digits_are_kept() -> None:
    value = b'{"OrderId":7,"Amount":0.10}'
    read = codec_for(Shipped | WithDecimal).decode(value, named("WithDecimal"))
    assert str(read.amount) == "0.10"


@pytest.mark.parametrize(
    "options",
    [
        {"reads": "ShippedV1"},
        {"message_type": ""},
        {"message_type": 1},
        {"reads": (1,)},
        {"reads": None},
        {"reads": 5},
    ],
    ids=str,
)
def test_a_name_that_is_none_is_refused_when_the_class_is_made(options: Any) -> None:
    with pytest.raises(DeclarationError, match=r"class Bad is given message_type=.*earlier names"):
        type("Bad", (ConvexMessage,), {}, **options)
