"""Letters that failed alike are one group: also after a deploy, and whatever release wrote them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.failures import failure_of
from convex_messaging_fastapi.messages import ConvexMessage, codec_for
from convex_messaging_fastapi.operations.letters import GroupKey, frame_of, group_id_of, group_key_of, told_of
from convex_messaging_fastapi.operations.letters.frames import fields_named, without_line
from tests.operations.support import FAILURE, a_letter, dotnet, read


class Item(ConvexMessage):
    price: int


class Basket(ConvexMessage):
    amount: int
    card: str
    items: list[Item] = []


def key_of(**failure: Any) -> GroupKey:
    return group_key_of(told_of(read(a_letter(failure=replace(FAILURE, **failure)))))


def refusal(value: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        codec_for(Basket).decode(value)
    return str(caught.value)


def test_the_id_of_a_group_is_the_same_for_ever() -> None:
    key = key_of()
    assert tuple(key) == (
        "convex.payments",
        "payments",
        "app.pay",
        "app.CardRefused",
        "app/payments.py in charge",
    )
    assert group_id_of(key) == "7c243c4fae"


def test_a_deploy_moves_lines_and_splits_no_group() -> None:
    assert key_of(frame="app/payments.py:97 in charge") == key_of()
    assert key_of(frame="app/payments.py:41 in refund") != key_of()
    assert key_of(exception_type="app.Other") != key_of()
    assert key_of(handler="app.other") != key_of()
    assert key_of(text="another card", stack="another", attempts=1) == key_of()


def test_letters_of_dotnet_are_told_apart_by_their_errors_whatever_numbers_these_hold() -> None:
    def key(error: str) -> GroupKey:
        return group_key_of(told_of(read(dotnet(ErrorMessage=error))))

    assert key("Order 17 not found") == key("Order 4711 not found")
    assert key("Order 17 not found") != key("Card refused")


def test_parts_of_a_key_are_not_mixed_up() -> None:
    assert group_id_of(GroupKey("a", "b", "c", None, None)) != group_id_of(GroupKey("a", "b", "c", "", None))
    assert group_id_of(GroupKey("a", "b,c", "d", None, None)) != group_id_of(
        GroupKey("a", "b", "c,d", None, None)
    )


OLDER = """\
app.CardRefused: card refused
  (3 outer ones left out)
  /srv/app/handlers.py:12 in pay
  /srv/app/payments.py:41 in charge
  /usr/lib/python3.11/json/decoder.py:353 in raw_decode
caused by ValueError: no
  /srv/app/cards.py:7 in number"""


@pytest.mark.parametrize(
    ("stack", "frame"),
    [
        (OLDER, "app/payments.py:41 in charge"),
        ("E: e\n  C:\\srv\\app\\payments.py:41 in charge", "app/payments.py:41 in charge"),
        ("E: e\n  /venv/lib/python3.11/site-packages/stripe/api.py:9 in post", "stripe/api.py:9 in post"),
        ("E: e\ncaused by F: f\n  /srv/app/cards.py:7 in number", "app/cards.py:7 in number"),
        ("E: e\n  alone.py:7 in f", "alone.py:7 in f"),
        ("E: e", None),
        ("", None),
    ],
)
def test_of_an_older_letter_it_is_found_in_the_stack(stack: str, frame: str | None) -> None:
    assert frame_of({"StackTrace": stack}) == frame


def test_it_is_the_same_place_that_a_newer_letter_tells() -> None:
    """So that letters from before an update and after it are of one group."""
    try:
        codec_for(Basket).decode(_not_bytes())
    except TypeError as error:
        failure = failure_of(error, 1, "g", "h")
    assert failure.frame is not None
    assert frame_of({"StackTrace": failure.stack}) == failure.frame


def _not_bytes() -> bytes:
    raise TypeError


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (b'{"Amount":"x"}', "Amount, Card"),
        (b'{"Amount":1,"Card":"c","Items":[{"Price":1},{},{"Price":"y"}]}', "Items.*.Price"),
        (b"{", None),
        (b"7", None),
    ],
)
def test_of_what_cannot_be_decoded_the_fields_are_named_and_not_the_messages(
    value: bytes, fields: str | None
) -> None:
    assert fields_named(refusal(value)) == fields


def test_decode_errors_of_the_same_fields_are_one_group() -> None:
    def key(value: bytes) -> GroupKey:
        kind = "convex_messaging_fastapi.errors.DecodeError"
        return key_of(exception_type=kind, text=refusal(value), frame=None, stack="")

    assert key(b'{"Amount":"x","Card":"c"}') == key(b'{"Amount":[],"Card":"c"}')
    assert key(b'{"Amount":"x","Card":"c"}').frame == "Amount"
    assert key(b'{"Amount":"x"}') != key(b'{"Amount":"x","Card":"c"}')


@pytest.mark.parametrize(
    ("frame", "without"),
    [
        ("app/payments.py:41 in charge", "app/payments.py in charge"),
        ("Amount, Card", "Amount, Card"),
        ("a.py:1 in b:2 in c", "a.py in b:2 in c"),
        (None, None),
    ],
)
def test_the_line_is_left_out(frame: str | None, without: str | None) -> None:
    assert without_line(frame) == without


def test_a_stack_of_any_size_is_looked_at_in_bounded_time() -> None:
    for hostile in (
        "\n" * 10**6,
        "\t" * 10**6,
        "\tat a(" * 10**5,
        "  a:1 in b\n" * 10**5,
        "\tat a.b(c:1)\n" * 10**5,
        "  " + "a:" * 10**6,
    ):
        frame_of({"StackTrace": hostile})
        frame_of({"ExceptionType": ".DecodeError", "ErrorMessage": hostile})
