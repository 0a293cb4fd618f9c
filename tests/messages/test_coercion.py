"""Bytes and durations in a ConvexMessage: the golden text of each, read and written, wherever they stand."""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import (
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    computed_field,
    create_model,
    field_serializer,
    model_serializer,
)
from typing_extensions import TypeAliasType, TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import DecodeError, EncodeError
from convex_messaging_fastapi.messages import codec_for, encode
from tests.messages.generics import of

HALF_AN_HOUR = timedelta(minutes=30)

GOLDEN: list[tuple[type, Any, str]] = [
    (bytes, b"", '""'),
    (bytes, b"\x01\x02\x03\xff", '"AQID/w=="'),
    (bytes, b"\xfb\xff\xfe", '"+//+"'),
    (timedelta, timedelta(0), '"00:00:00"'),
    (timedelta, HALF_AN_HOUR, '"00:30:00"'),
    (timedelta, timedelta(microseconds=1), '"00:00:00.0000010"'),
    (timedelta, timedelta(days=1, hours=2, minutes=3, seconds=4.5), '"1.02:03:04.5000000"'),
    (timedelta, -timedelta(days=1, hours=2, minutes=3, seconds=4.5), '"-1.02:03:04.5000000"'),
    (timedelta, -timedelta(seconds=1), '"-00:00:01"'),
    (timedelta, timedelta(hours=24), '"1.00:00:00"'),
]


class Pair(NamedTuple):
    inside: Any


def _pair_of(kind: Any) -> Any:
    return NamedTuple("Pair", [("inside", kind)])


def _row_of(kind: Any) -> Any:
    return TypedDict("Row", {"inside": kind})  # type: ignore[operator]


def _point_of(kind: Any) -> Any:
    return dataclasses.make_dataclass("Point", [("inside", kind)])


def _message_of(kind: Any) -> Any:
    return create_model("Inner", __base__=ConvexMessage, inside=(kind, ...))


Around = Callable[[Any], tuple[Any, Callable[[Any], Any], str]]

AROUND: dict[str, Around] = {
    "alone": lambda kind: (kind, lambda value: value, "{}"),
    "optional": lambda kind: (kind | None, lambda value: value, "{}"),
    "list": lambda kind: (of(list, kind), lambda value: [value], "[{}]"),
    "sequence": lambda kind: (of(Sequence, kind), lambda value: [value], "[{}]"),
    "set": lambda kind: (of(set, kind), lambda value: {value}, "[{}]"),
    "deque": lambda kind: (of(deque, kind), lambda value: deque([value]), "[{}]"),
    "tuple": lambda kind: (of(tuple, int, kind), lambda value: (1, value), "[1,{}]"),
    "dict": lambda kind: (of(dict, str, kind), lambda value: {"a": value}, '{{"a":{}}}'),
    "mapping": lambda kind: (of(Mapping, str, of(list, kind)), lambda value: {"a": [value]}, '{{"a":[{}]}}'),
    "key": lambda kind: (of(dict, kind, int), lambda value: {value: 1}, "{{{}:1}}"),
    "union": lambda kind: (int | kind | bool, lambda value: value, "{}"),
    "alias": lambda kind: (TypeAliasType("Alias", kind), lambda value: value, "{}"),
    "alias in a list": lambda kind: (
        of(list, TypeAliasType("Alias", kind | None)),
        lambda value: [value],
        "[{}]",
    ),
    "annotated": lambda kind: (Annotated[kind, Field(description="x")], lambda value: value, "{}"),
    "named tuple": lambda kind: (_pair_of(kind), lambda value: (value,), "[{}]"),
    "typed dict": lambda kind: (_row_of(kind), lambda value: {"inside": value}, '{{"Inside":{}}}'),
    "dataclass": lambda kind: (_point_of(kind), lambda value: {"inside": value}, '{{"Inside":{}}}'),
    "message": lambda kind: (_message_of(kind), lambda value: {"inside": value}, '{{"Inside":{}}}'),
}


@pytest.mark.parametrize("decimal", [False, True], ids=["alone", "beside a Decimal"])
@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize(("kind", "value", "text"), GOLDEN, ids=[text for *_, text in GOLDEN])
def test_the_golden_text_is_written_and_read(
    kind: type, value: Any, text: str, around: Around, decimal: bool
) -> None:
    annotation, wrapped, written = around(kind)
    beside: Any = {"amount": (Decimal, Decimal("1.10"))} if decimal else {}
    model: Any = create_model("Blob", __base__=ConvexMessage, data=(annotation, ...), **beside)
    golden = '{"Data":' + written.format(text) + (',"Amount":1.10}' if decimal else "}")
    message = model(data=wrapped(value))
    assert encode(message) == golden.encode()
    assert message.model_dump_json().encode() == golden.encode()
    assert codec_for(model).decode(golden.encode()) == message


class Blob(ConvexMessage):
    data: bytes = b""
    span: timedelta = timedelta(0)


class BlobWithDecimal(Blob):
    amount: Decimal = Decimal(0)


READ: list[tuple[str, Any]] = [
    ('{"Span":"00:00:30.5"}', timedelta(seconds=30.5)),
    ('{"Span":"00:00:30.1234567"}', timedelta(seconds=30, microseconds=123456)),
    ('{"Span":"-00:00:30.1234567"}', -timedelta(seconds=30, microseconds=123456)),
    ('{"Span":"1.00:00:00"}', timedelta(days=1)),
    ('{"Span":"-1.02:03:04"}', -timedelta(days=1, hours=2, minutes=3, seconds=4)),
    (
        '{"Span":"10675199.02:48:05.4775807"}',
        timedelta(days=10675199, hours=2, minutes=48, seconds=5, microseconds=477580),
    ),
    (
        '{"Span":"-10675199.02:48:05.4775808"}',
        -timedelta(days=10675199, hours=2, minutes=48, seconds=5, microseconds=477580),
    ),
    ('{"Span":"PT1H30M"}', timedelta(minutes=90)),
    ('{"Span":"P1DT2H3M4.5S"}', timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
    ('{"Span":"-PT1M"}', -timedelta(minutes=1)),
    ('{"Span":90}', timedelta(seconds=90)),
    ('{"Span":0.25}', timedelta(seconds=0.25)),
    ('{"Span":-1.5}', -timedelta(seconds=1.5)),
]


@pytest.mark.parametrize("model", [Blob, BlobWithDecimal])
@pytest.mark.parametrize(("text", "span"), READ, ids=[text for text, _ in READ])
def test_a_duration_is_read_in_dotnets_form_in_iso_8601_and_in_seconds(
    model: Any, text: str, span: timedelta
) -> None:
    assert codec_for(model).decode(text.encode()).span == span


@pytest.mark.parametrize("model", [Blob, BlobWithDecimal])
@pytest.mark.parametrize(
    "text",
    [
        *('{"Span":"1.24:00:00"}', '{"Span":"1.02:60:04"}', '{"Span":"1.2:03:04"}', '{"Span":"x"}'),
        *('{"Span":"1.02:03:04.12345678"}', '{"Span":"999999999.00:00:00"}', '{"Span":"1.02:03:04Z"}'),
        *('{"Data":"AQID/w="}', '{"Data":"AQID_w=="}', '{"Data":"AQ ID"}', '{"Data":"é"}', '{"Data":1}'),
    ],
)
def test_what_is_neither_is_refused_by_the_name_of_its_field(model: Any, text: str) -> None:
    with pytest.raises(DecodeError, match=r"(Span|Data): Input should be"):
        codec_for(model).decode(text.encode())


def test_text_given_in_python_is_read_as_it_is_on_the_wire() -> None:
    assert Blob(data="AQID", span="1.00:00:00") == Blob(data=b"\x01\x02\x03", span=timedelta(days=1))  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Blob(data="hello")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [bytes, timedelta])
def test_beside_text_in_a_union_the_first_that_fits_is_taken_in_both_modes(kind: Any) -> None:
    for beside in ({}, {"amount": (Decimal, Decimal(0))}):
        first, last = (
            create_model("Either", __base__=ConvexMessage, data=(annotation, ...), **beside)  # type: ignore[call-overload]
            for annotation in (kind | str, str | kind)
        )
        for _, value, text in (golden for golden in GOLDEN if golden[0] is kind):
            written = b'{"Data":%s}' % text.encode()
            assert codec_for(first).decode(written).data == value
            assert codec_for(last).decode(written).data == text.strip('"')
            assert first(data=value).data == last(data=value).data == value
        assert codec_for(first).decode(b'{"Data":"hello"}').data == "hello"


def test_values_in_an_any_are_written_so_too() -> None:
    class Holder(ConvexMessage):
        anything: Any
        bag: dict[str, Any]

    held = {"d": [b"\xff", timedelta(days=1)]}
    assert encode(Holder(anything=(b"\xff", timedelta(0)), bag=held)) == (
        b'{"Anything":["/w==","00:00:00"],"Bag":{"d":["/w==","1.00:00:00"]}}'
    )


def test_in_strict_mode_json_is_read_and_text_in_python_is_not() -> None:
    class Strict(ConvexMessage):
        model_config = ConfigDict(strict=True)
        data: bytes
        span: timedelta

    strict = Strict(data=b"\xff", span=timedelta(days=1))
    assert codec_for(Strict).decode(encode(strict)) == strict
    with pytest.raises(ValidationError):
        Strict(data="AAAA", span=timedelta(0))  # type: ignore[arg-type]


def test_limits_of_a_field_count_what_it_holds() -> None:
    class Small(ConvexMessage):
        data: Annotated[bytes, Field(max_length=3)]
        span: Annotated[timedelta, Field(gt=timedelta(0))]

    assert codec_for(Small).decode(b'{"Data":"AQID","Span":"1.00:00:00"}').data == b"\x01\x02\x03"
    with pytest.raises(DecodeError, match=r"Data: Data should have at most 3 bytes; Span: .*greater than"):
        codec_for(Small).decode(b'{"Data":"AQIDBA==","Span":"00:00:00"}')


class TestThoseWhoKeepTheirs:
    def test_base64_bytes_and_fields_with_serialisers_of_their_own(self) -> None:
        class Own(ConvexMessage):
            encoded: Base64Bytes
            decorated: bytes
            many: list[bytes]
            annotated: Annotated[bytes, PlainSerializer(lambda value: value.decode())]
            span: timedelta
            wrapped: list[timedelta]

            @field_serializer("decorated")
            def text(self, value: bytes) -> str:
                return value.decode()

            @field_serializer("many")
            def texts(self, value: list[bytes]) -> list[str]:
                return [one.decode() for one in value]

            @field_serializer("span")
            def seconds(self, value: timedelta) -> float:
                return value.total_seconds()

            @field_serializer("wrapped", mode="wrap")
            def handed_on(self, value: list[timedelta], handler: Any) -> Any:
                return handler(value)

        golden = (
            b'{"Encoded":"AQID","Decorated":"abcd","Many":["abcd"],"Annotated":"abcd","Span":90.0,'
            b'"Wrapped":["PT90S"]}'
        )
        own = codec_for(Own).decode(golden.replace(b"PT90S", b"PT1M30S"))
        assert (own.encoded, own.decorated, own.many, own.annotated) == (
            b"\x01\x02\x03",
            *[b"abcd"] * 1,
            [b"abcd"],
            b"abcd",
        )
        assert own.span == own.wrapped[0] == timedelta(seconds=90)
        assert encode(own) == golden.replace(b"PT90S", b"PT1M30S")

    def test_models_that_are_no_convex_messages(self) -> None:
        class Plain(BaseModel):
            data: bytes
            span: timedelta

        class Holder(ConvexMessage):
            plain: Plain
            own: bytes

        golden = b'{"Plain":{"data":"abcd","span":"PT1M30S"},"Own":"AQID"}'
        holder = Holder(plain=Plain(data=b"abcd", span=timedelta(seconds=90)), own=b"\x01\x02\x03")
        assert encode(holder) == golden
        assert codec_for(Holder).decode(golden) == holder
        assert encode(holder.plain) == golden[9:41]

    def test_a_subclass_whose_configuration_says_how(self) -> None:
        class Seconds(ConvexMessage):
            model_config = ConfigDict(ser_json_timedelta="float", ser_json_bytes="hex", val_json_bytes="hex")
            span: timedelta
            data: bytes

        seconds = Seconds(span=timedelta(seconds=90), data=b"\xff")
        assert encode(seconds) == b'{"Span":90.0,"Data":"ff"}'
        assert codec_for(Seconds).decode(encode(seconds)) == seconds

    def test_a_model_that_writes_itself(self) -> None:
        class Itself(ConvexMessage):
            data: bytes

            @model_serializer
            def plain(self) -> dict[str, str]:
                return {"Data": self.data.decode()}

        assert encode(Itself(data=b"abcd")) == b'{"Data":"abcd"}'
        assert codec_for(Itself).decode(b'{"Data":"abcd"}').data == b"abcd"


def test_what_a_property_computes_is_written_as_a_field_is() -> None:
    class Computed(ConvexMessage):
        data: bytes

        @computed_field  # type: ignore[prop-decorator]
        @property
        def twice(self) -> bytes:
            return self.data * 2

    assert encode(Computed(data=b"\xff")) == b'{"Data":"/w==","Twice":"//8="}'


@pytest.mark.parametrize(
    "name", ["metadata", "default", "config", "type", "members", "expected", "serialization"]
)
def test_a_field_may_have_a_name_that_schemas_use_themselves(name: str) -> None:
    model = create_model("Named", __base__=ConvexMessage, **{name: (bytes, ...), "other": (Decimal, ...)})  # type: ignore[call-overload]
    message = model(**{name: b"\xff", "other": Decimal("1.10")})
    assert encode(message) == f'{{"{name.title()}":"/w==","Other":1.10}}'.encode()
    assert codec_for(model).decode(encode(message)) == message
    number = create_model("Named", __base__=ConvexMessage, **{name: (Decimal, ...)})  # type: ignore[call-overload]
    assert encode(number(**{name: Decimal("1.10")})) == f'{{"{name.title()}":1.10}}'.encode()


def test_a_value_of_another_type_in_their_place_is_written_as_pydantic_would() -> None:
    with pytest.warns(UserWarning, match="expected bytes"):
        assert encode(Blob.model_construct(data="x", span=timedelta(0))) == b'{"Data":"x","Span":"00:00:00"}'


@pytest.mark.parametrize("days", [10675200, -10675200, 999999999])
def test_a_duration_that_dotnet_cannot_hold_is_refused(days: int) -> None:
    with pytest.raises(EncodeError, match=r"Blob.*span: .*10675199 days: send its number of seconds"):
        encode(Blob(span=timedelta(days=days)))


def test_openapi_and_http_say_and_do_the_same() -> None:
    class Body(ConvexMessage):
        data: bytes
        span: timedelta

    async def echo(body: Any) -> Any:
        return body

    echo.__annotations__ = {"body": Body, "return": Body}  # which stand here as text, and Body is local
    app = FastAPI()
    app.post("/blobs")(echo)

    client = TestClient(app)
    body = {"Data": "AQID/w==", "Span": "1.02:03:04.5000000"}
    assert client.post("/blobs", json=body).json() == body
    assert client.post("/blobs", json={"Data": "@"}).status_code == 422
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Body"]["properties"]
    assert {name: (field["type"], field.get("format")) for name, field in schema.items()} == {
        "Data": ("string", "byte"),
        "Span": ("string", None),
    }
    assert re.search(schema["Span"]["pattern"], "1.02:03:04.5000000")
