"""What is refused before it is decoded: each bound from both sides, in every codec; what the look costs."""

from __future__ import annotations

import dataclasses
import json
import time
import timeit
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue, RootModel
from typing_extensions import TypeAliasType, TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import DeclarationError, DecodeError
from convex_messaging_fastapi.messages import DeadLetterMessage, codec_for
from convex_messaging_fastapi.messages.bounds import (
    Bounds,
    OutOfBounds,
    may_hold_large_decimals,
    numbers_are_within,
)
from convex_messaging_fastapi.messages.plain import numbers_in
from tests.messages.generics import of
from tests.support.examples import examples

pytestmark = pytest.mark.cpu

MANY = examples(300)


class Place(TypedDict):
    x: Any


@dataclasses.dataclass
class Spot:
    x: Any


class Plain(BaseModel):
    x: Any


class Exact(ConvexMessage):
    x: Any
    amount: Decimal = Decimal(0)


CODECS = [Any, dict, dict[str, Any], Place, Spot, Plain, Exact, Plain | Exact]

BEYOND = {
    "digits": "1" * 401,
    "digits behind a point": "0." + "1" * 401,
    "digits around a point": f"{'1' * 200}.{'1' * 201}",
    "an exponent": "1e401",
    "an exponent in capitals": "-1.5E+401",
    "an exponent below": "1e-401",
    "an exponent and digits before it": "10e400",
    "an exponent that no decimal has": "1e99999999999999999999",
    "an exponent after many zeros": "1e" + "0" * 2000 + "1",
    "zeros that are digits": "0." + "0" * 2000 + "1",
    "levels": "[" * 100 + "]" * 100,  # and the object around them
    "levels of objects": '{"x":' * 100 + "1" + "}" * 100,
    "members": f"[{'1,' * 100_000}1]",
    "members of objects": "[" + '{"a":1},' * 50_000 + "{}]",
}

WITHIN = {
    "digits": "1" * 400,
    "digits behind a point": "0." + "1" * 400,
    "an exponent below": "1e-400",
    "a small exponent with zeros": "1e0007",
    "levels": "[" * 99 + "]" * 99,
    "levels side by side": f"[{','.join(['[[[[]]]]'] * 200)}]",
    "brackets in a text": json.dumps("[" * 1000 + "{" * 1000 + '\\"' * 20),
    "commas in a text": json.dumps(',"' * 100_000),
    "an exponent in a text": '"1e999"',
    "digits in a text": f'"{"1" * 1000}"',
    "a backslash at the end of a text": r'["\\", "[[[", "\\\\"]',
    "members": f"[{'1,' * 99_000}1]",
}


@pytest.mark.parametrize("annotation", CODECS, ids=str)
@pytest.mark.parametrize("value", BEYOND.values(), ids=BEYOND)
def test_beyond_a_bound_nothing_is_decoded(annotation: Any, value: str) -> None:
    with pytest.raises(DecodeError, match=r"the value is not decoded as .*(digits|nested|max_message_items)"):
        codec_for(annotation).decode(f'{{"x":{value}}}'.encode())


@pytest.mark.parametrize("annotation", CODECS, ids=str)
@pytest.mark.parametrize("value", WITHIN.values(), ids=WITHIN)
def test_within_the_bounds_all_is_decoded(annotation: Any, value: str) -> None:
    decoded = codec_for(annotation).decode(f'{{"x":{value}}}'.encode())
    found = decoded["x"] if isinstance(decoded, dict) else decoded.x
    assert found == json.loads(value, parse_float=Decimal) or list(numbers_in(found)) == [float(value)]


def test_a_handler_of_bytes_is_given_any() -> None:
    value = b"[" * 200_000
    assert codec_for(bytes).within(Bounds(max_bytes=1)).decode(value) == value


@pytest.mark.parametrize("annotation", [*CODECS, str, list[int], DeadLetterMessage], ids=str)
def test_a_value_that_is_too_large_is_told_with_its_size_and_the_setting(annotation: Any) -> None:
    decoder = codec_for(annotation).within(Bounds(max_bytes=1024))
    with pytest.raises(DecodeError, match="1025 bytes, and max_message_bytes is 1024"):
        decoder.decode(b'"' + b"a" * 1023 + b'"')


def test_the_bounds_hold_behind_a_byte_order_mark() -> None:
    for value in (b"[" * 200_000, b"[" + b"1" * 401 + b"]"):
        with pytest.raises(DecodeError, match="is not decoded"):
            codec_for(Any).decode(b"\xef\xbb\xbf" + value)


def _in_script(text: str, zero: int) -> str:
    """Other digits for the same number, all of which `Decimal` reads."""
    return "".join(chr(zero + int(character)) if character.isdigit() else character for character in text)


_wide = partial(_in_script, zero=0xFF10)
_arabic = partial(_in_script, zero=0x0660)

TEXT_DECIMALS = [
    "1e401",
    "1E-401",
    " 1e9999999 ",
    "1_0e4_0_1",
    "1" * 401,
    "1_" * 401 + "1",
    _wide("1e401"),
    _arabic("3e401"),
]


@pytest.mark.parametrize("text", TEXT_DECIMALS, ids=lambda text: text[:12])
@pytest.mark.parametrize("escaped", [False, True])
def test_a_decimal_that_is_given_as_text_has_the_same_bounds(text: str, escaped: bool) -> None:
    class Prices(BaseModel):
        by_name: dict[str, Decimal] = {}
        known: dict[Decimal, int] = {}

    written = "".join(f"\\u{ord(character):04x}" for character in text) if escaped else text
    for document in (f'{{"by_name":{{"a":"{written}"}}}}', f'{{"known":{{"{written}":1}}}}'):
        with pytest.raises(DecodeError, match=r"a decimal given as text|no Prices: known"):
            codec_for(Prices).decode(document.encode())


numbers = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.builds(
        lambda whole, part, e: f"{whole}.{part}e{e}",
        st.integers(-(10**410), 10**410),
        st.from_regex(r"[0-9]{1,20}", fullmatch=True),
        st.integers(-420, 420),
    ),
    st.integers(-(10**410), 10**410).map(str),
)


@MANY
@given(numbers)
def test_a_number_is_within_the_bounds_by_its_value_however_it_is_written(text: str) -> None:
    exact = Decimal(text)
    within = abs(exact.adjusted()) <= 400 and len(exact.as_tuple().digits) <= 400
    try:
        Bounds().check(f'{{"Amount": {text}}}'.encode())
    except OutOfBounds:
        assert not within
    else:
        assert within


documents = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('{}[],:"\\x1eé'), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=30,
)


@MANY
@given(documents)
def test_members_and_levels_are_counted_as_a_parser_sees_them(document: Any) -> None:
    members, levels = _measured(document)
    value = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    Bounds(max_items=members).check(value)
    if members:
        with pytest.raises(OutOfBounds, match="members"):
            Bounds(max_items=members - 1).check(value)
    Bounds().check(b"[" * (100 - levels) + value + b"]" * (100 - levels))
    with pytest.raises(OutOfBounds, match="levels"):
        Bounds().check(b"[" * (101 - levels) + value + b"]" * (101 - levels))


def _measured(document: Any) -> tuple[int, int]:
    """How many containers and commas, and how many levels."""
    if not isinstance(document, dict | list):
        return 0, 0
    inner = [_measured(child) for child in (document.values() if isinstance(document, dict) else document)]
    commas = max(len(document) - 1, 0)
    return 1 + commas + sum(members for members, _ in inner), 1 + max(
        (levels for _, levels in inner), default=0
    )


# Unions that hold themselves.


class Both(BaseModel):
    child: Both | Other | None = None


class Other(BaseModel):
    child: Both | Other | None = None


class Branch(ConvexMessage):
    children: list[Branch | Leaf] = []


class Leaf(ConvexMessage):
    value: int


class OfDicts(TypedDict):
    child: OfDicts | dict[str, Any] | None


@dataclasses.dataclass
class OfClasses:
    children: dict[str, OfClasses | Leaf]


class Rooted(RootModel[dict[str, "Rooted | Leaf"]]):
    pass


class Loose(BaseModel):
    child: Loose | Any = None


AMBIGUOUS = [Both, Branch, OfDicts, OfClasses, Rooted, Loose]


@pytest.mark.parametrize("kind", AMBIGUOUS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "around",
    [lambda k: k, lambda k: k | None, lambda k: of(list, k), lambda k: of(dict, str, of(list, k | int))],
    ids=range(4),
)
def test_a_union_that_holds_itself_and_has_no_discriminator_is_refused_when_it_is_declared(
    kind: Any, around: Any
) -> None:
    with pytest.raises(
        DeclarationError, match=r"holds itself and has no discriminator.*Field\(discriminator="
    ):
        codec_for(around(kind))


class Told(BaseModel):
    kind: Literal["told"]
    child: Annotated[Told | Apart, Field(discriminator="kind")] | None = None


class Apart(BaseModel):
    kind: Literal["apart"]
    child: Annotated[Told | Apart, Field(discriminator="kind")] | None = None


class Tree(BaseModel):
    children: list[Tree] = []
    next: Tree | list[Tree] | int | None = None


Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | None")


@pytest.mark.parametrize("annotation", [Told, Told | Apart, Tree, Json, JsonValue, Tree | Leaf], ids=str)
def test_one_whose_members_can_be_told_apart_is_taken(annotation: Any) -> None:
    codec_for(annotation)


# What it costs those that are no trouble.


class BetPlaced(ConvexMessage):
    bet_id: int
    user_id: int
    stake: Decimal
    card: str


def test_the_look_costs_a_small_message_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paired, against reading alone, with room for a busy machine."""
    decoder = codec_for(BetPlaced)
    value = b'{"BetId":1,"UserId":17,"Stake":10.00,"Card":"4242"}'
    read = decoder._read

    def pair() -> float:
        looked = timeit.timeit(lambda: decoder.decode(value), timer=time.thread_time, number=5000)
        alone = timeit.timeit(lambda: read(value), timer=time.thread_time, number=5000)
        return looked / alone

    assert sorted(pair() for _ in range(9))[4] < 2.5


@pytest.mark.parametrize("before", range(0, 405, 9))
def test_a_number_too_long_is_found_wherever_it_begins(before: int) -> None:
    for digits, within in ((400, True), (401, False)):
        number = b"1" * digits
        value = b'{"Note":"%s","A":%s}' % (b"x" * before, number)
        assert numbers_are_within(value) is within
        if within:
            Bounds().check(value)
        else:
            with pytest.raises(OutOfBounds, match="digits"):
                Bounds().check(value)
        assert may_hold_large_decimals(b'{"Note":"%s","A":"%s"}' % (b"x" * before, number))
