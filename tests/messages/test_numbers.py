"""Numbers have the same bounds in both directions: what is written is read again, or it is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import codec_for, encode
from tests.support.examples import examples

MANY = examples(300)

integers = st.one_of(
    st.integers(),
    st.builds(lambda sign, n: sign * (10**n + 7), st.sampled_from([1, -1]), st.integers(300, 410)),
)
decimals = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False),
    st.builds(
        lambda sign, digits, exponent: Decimal((sign, tuple(digits), exponent)),
        st.integers(0, 1),
        st.lists(st.integers(0, 9), min_size=1, max_size=420),
        st.integers(-820, 420),
    ),
)


class Ours(ConvexMessage):
    whole: int = 0
    exact: Decimal = Decimal(0)
    floating: float = 0.0
    anything: Any = None
    wholes: list[int] = []
    by_name: dict[str, Decimal] = {}
    known: dict[Decimal, int] = {}


class Theirs(BaseModel):
    whole: int = 0
    exact: Decimal = Decimal(0)
    by_name: dict[str, list[Decimal]] = {}


def _comes_back_or_is_refused(annotation: Any, message: Any, numbers: list[int | Decimal]) -> None:
    try:
        written = encode(message)
    except EncodeError:
        assert not all(_is_within(Decimal(number)) for number in numbers)
    else:
        assert all(_is_within(Decimal(number)) for number in numbers)
        assert codec_for(annotation).decode(written) == message


def _is_within(number: Decimal) -> bool:
    return abs(number.adjusted()) <= 400 and len(number.as_tuple().digits) <= 400


@MANY
@given(integers, decimals, st.floats(allow_nan=False, allow_infinity=False))
def test_what_a_convex_message_writes_it_reads(whole: int, exact: Decimal, floating: float) -> None:
    for message in (
        Ours(whole=whole, exact=exact, floating=floating),
        Ours(anything=exact, wholes=[whole]),
        Ours(anything={"a": [exact, whole]}, by_name={"b": exact}),
    ):
        _comes_back_or_is_refused(Ours, message, [whole, exact])


@MANY
@given(integers, decimals)
def test_what_other_models_and_plain_values_write_is_read(whole: int, exact: Decimal) -> None:
    _comes_back_or_is_refused(Theirs, Theirs(whole=whole, exact=exact), [whole, exact])
    _comes_back_or_is_refused(Theirs, Theirs(by_name={"a": [exact]}), [exact])
    _comes_back_or_is_refused(list[Decimal], [exact], [exact])
    _comes_back_or_is_refused(dict[str, int], {"a": whole}, [whole])


@pytest.mark.parametrize("number", [Decimal("1E+401"), Decimal("1E-401"), Decimal("7" * 401)], ids=str)
def test_a_key_has_the_same_bounds(number: Decimal) -> None:
    for message in (Ours(known={number: 1}), {number: 1}):
        with pytest.raises(EncodeError, match="400"):
            encode(message)


def test_a_text_of_many_digits_is_no_number() -> None:
    assert encode({"a": "7" * 1000, "b": "1e9999"}) == TypeAdapter(Any).dump_json(
        {"a": "7" * 1000, "b": "1e9999"}
    )
