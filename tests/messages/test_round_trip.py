"""What a ConvexMessage encodes it decodes to the same value: for every type that its docstring names.

The table there is the only list of types. Each of its lines has a strategy here, or this test fails.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, create_model
from typing_extensions import TypedDict

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import codec_for, encode
from tests.support.examples import examples

Typed = tuple[Any, st.SearchStrategy[Any]]
"""An annotation, and the values that it takes."""


class Colour(Enum):
    RED = "red"
    DEEP_RED = "00:00:01"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Pair(NamedTuple):
    first: bytes
    second: Decimal | None


class Row(TypedDict):
    at_time: time
    some_bytes: bytes


@dataclasses.dataclass
class Point:
    x_of: Decimal
    since: timedelta


class Plain(BaseModel):
    snake_name: Decimal
    span: timedelta


class Ours(ConvexMessage):
    snake_name: Decimal
    some_bytes: bytes = b""
    span: timedelta | None = None


LARGEST_SPAN = timedelta(days=10675199, hours=2, minutes=48, seconds=5, microseconds=477580)
offsets = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
zones = st.none() | st.just(UTC) | offsets
decimals = st.decimals(allow_nan=False, allow_infinity=False).filter(
    lambda number: (
        number.is_finite() and abs(number.adjusted()) <= 400 and len(number.as_tuple().digits) <= 400
    )
)
durations = st.timedeltas(-LARGEST_SPAN, LARGEST_SPAN)
floats = st.floats(allow_nan=False, allow_infinity=False)
binaries = st.binary(max_size=20)

SIMPLE: dict[str, list[Typed]] = {
    "str": [(str, st.text())],
    "bool": [(bool, st.booleans())],
    "int": [(int, st.integers(-(10**400) + 1, 10**400 - 1))],
    "float": [(float, floats)],
    "Decimal": [(Decimal, decimals)],
    "bytes": [(bytes, binaries)],
    "timedelta": [(timedelta, durations)],
    "datetime": [(datetime, st.datetimes(timezones=zones))],
    "date": [(date, st.dates())],
    "time": [(time, st.times(timezones=zones))],
    "UUID": [(UUID, st.uuids())],
    "Enum": [(Colour, st.sampled_from(Colour)), (Level, st.sampled_from(Level))],
    "Literal": [(Literal["a", 1, True], st.sampled_from(["a", 1]))],
}


def _plain(had: tuple[Decimal, timedelta]) -> Plain:
    return Plain(snake_name=had[0], span=had[1])


def _ours(had: tuple[Decimal, bytes, timedelta | None]) -> Ours:
    return Ours(snake_name=had[0], some_bytes=had[1], span=had[2])


COMPOSED: dict[str, Typed] = {
    "NamedTuple": (Pair, st.builds(Pair, binaries, st.none() | decimals)),
    "TypedDict": (Row, st.fixed_dictionaries({"at_time": st.times(), "some_bytes": binaries})),
    "dataclass": (Point, st.builds(Point, decimals, durations)),
    "BaseModel": (
        Plain,
        st.tuples(decimals, durations).map(lambda had: Plain(snake_name=had[0], span=had[1])),
    ),
    "ConvexMessage": (Ours, st.tuples(decimals, binaries, st.none() | durations).map(_ours)),
}

Wrap = Callable[[Typed, Typed], Typed]


def _lists(of: Callable[..., Any], annotation: Any, values: st.SearchStrategy[Any]) -> Typed:
    return of[annotation], st.lists(values, max_size=3).map(of)  # type: ignore[index]


def _told_apart(one: Typed, other: Typed) -> Typed:
    """A union with what no text, number or truth can be taken for: an array of arrays."""
    (annotation, values), (inner, inside) = one, other
    return annotation | list[list[inner]], values | st.lists(st.lists(inside, max_size=2), max_size=2)  # type: ignore[valid-type]


CONTAINERS: dict[str, Wrap] = {
    "list[T]": lambda t, u: _lists(list, *t),
    "set[T]": lambda t, u: _lists(set, *t),
    "frozenset[T]": lambda t, u: _lists(frozenset, *t),
    "deque[T]": lambda t, u: _lists(deque, *t),
    "tuple[T, ...]": lambda t, u: (tuple[t[0], ...], st.lists(t[1], max_size=3).map(tuple)),  # type: ignore[valid-type]
    "tuple[T, U]": lambda t, u: (tuple[t[0], u[0]], st.tuples(t[1], u[1])),  # type: ignore[valid-type]
    "dict[K, T]": lambda t, u: (dict[u[0], t[0]], st.dictionaries(u[1], t[1], max_size=3)),  # type: ignore[valid-type]
    "T | None": lambda t, u: (t[0] | None, st.none() | t[1]),
    "T | U": _told_apart,
}
TAKE_SIMPLE_ONES = frozenset({"set[T]", "frozenset[T]", "T | U"})
"""What needs hashes, or members that JSON tells apart."""


def table() -> list[str]:
    """The first column of the table in the docstring."""
    lines = re.findall(r"^    (\S.*?) {2,}\S.*$", inspect.getdoc(ConvexMessage) or "", re.MULTILINE)
    return [line for line in lines if not line.startswith(("class", "bet_id", "stake"))]


simple: list[Typed] = [typed for kinds in SIMPLE.values() for typed in kinds]
keys: list[Typed] = [typed for name, kinds in SIMPLE.items() for typed in kinds if name != "Literal"]


@st.composite
def typed(draw: Callable[[Any], Any], depth: int = 2, *, are_simple: bool = False) -> Typed:
    """A type of the table, containers of containers included, and its values."""
    if depth == 0 or are_simple or draw(st.booleans()):
        kinds = keys if are_simple else [*simple, *COMPOSED.values()]
        chosen: Typed = draw(st.sampled_from(kinds))
        return chosen
    name = draw(st.sampled_from(list(CONTAINERS)))
    inner = draw(typed(depth - 1, are_simple=name in TAKE_SIMPLE_ONES))
    return CONTAINERS[name](inner, draw(typed(0, are_simple=True)))


def test_every_line_of_the_table_is_tried_and_nothing_else() -> None:
    assert table() == [*SIMPLE, *COMPOSED, *CONTAINERS]


def _message(annotation: Any, beside: Any) -> type[ConvexMessage]:
    return create_model("Message", __base__=ConvexMessage, the_value=(annotation, ...), **beside)


BESIDE: dict[str, dict[str, Any]] = {"alone": {}, "beside a Decimal": {"amount": (Decimal, Decimal("1.10"))}}


def _comes_back(kind: Any, value: Any) -> None:
    message = kind(the_value=value)
    back = codec_for(kind).decode(encode(message))
    assert back == message
    assert type(back.the_value) is type(message.the_value)


EVERY: list[tuple[str, Typed]] = [
    *((name, typed) for name, kinds in SIMPLE.items() for typed in kinds),
    *COMPOSED.items(),
    *((name, wrap(typed, (str, st.text()))) for name, wrap in CONTAINERS.items() for typed in simple),
    *(("dict[K, T]", (dict[typed[0], str], st.dictionaries(typed[1], st.text()))) for typed in keys),  # type: ignore[valid-type]
]


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize(("name", "kind"), EVERY, ids=[f"{name}-{kind[0]}" for name, kind in EVERY])
def test_every_type_of_the_table_comes_back(name: str, kind: Typed, beside: dict[str, Any]) -> None:
    annotation, values = kind
    message = _message(annotation, beside)

    @examples(20)
    @given(values)
    def check(value: Any) -> None:
        _comes_back(message, value)

    check()


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_types_of_the_table_in_one_another_come_back(beside: dict[str, Any]) -> None:
    @examples(60)
    @given(st.data())
    def check(data: Any) -> None:
        annotation, values = data.draw(typed())
        _comes_back(_message(annotation, beside), data.draw(values))

    check()


seconds = st.integers(-86_399, 86_399).map(lambda one: timezone(timedelta(seconds=one)))


@settings(deadline=None)
@given(
    st.one_of(
        st.tuples(st.just(timedelta), st.timedeltas()),
        st.tuples(st.just(datetime), st.datetimes(timezones=st.timezones() | seconds)),
        st.tuples(st.just(time), st.times(timezones=seconds)),
        st.tuples(st.just(Decimal), st.decimals()),
        st.tuples(st.just(float), st.floats()),
        st.tuples(st.just(int), st.integers()),
        st.tuples(st.just(str), st.text(st.characters())),
    ),
    st.sampled_from(list(BESIDE)),
)
def test_what_would_not_come_back_is_refused(kind: tuple[Any, Any], beside: str) -> None:
    annotation, value = kind
    model = _message(annotation, BESIDE[beside])
    try:
        written = encode(model.model_construct(the_value=value, amount=Decimal("1.10")))
    except EncodeError as error:
        refusal = str(error)
    else:
        back: Any = codec_for(model).decode(written)
        assert _at_one_offset(back.the_value) == _at_one_offset(value)
        return
    assert "the_value" in refusal


def _at_one_offset(value: Any) -> Any:
    """Of a time that comes twice, when clocks are put back, Python calls no other offset equal."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value
