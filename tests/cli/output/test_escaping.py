"""Nothing that others wrote has power over a terminal, in text and in JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.cli.output import json_text, safe, safe_bytes

HOSTILE = [
    ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
    ("two\nlines\r\ttab", r"two\nlines\r\ttab"),
    ("\x9b31m", r"\x9b31m"),
    ("\x7f\x00", r"\x7f\x00"),
    ("user\u202egpj.exe", r"user\u202egpj.exe"),
    ("\u2066left\u2069", r"\u2066left\u2069"),
    ("a\u200bb\u200fc\u2028d", r"a\u200bb\u200fc\u2028d"),
    ("\U000e0041", r"\U000e0041"),
    ("\ud800", r"\ud800"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_what_a_terminal_might_obey_is_written_as_an_escape(text: str, shown: str) -> None:
    assert safe(text) == shown


@pytest.mark.parametrize("text", ["", "plain", "Grüße, 日本 🎉", "C:\\Users\\ada", '{"a": "b"}'])
def test_what_is_safe_stays_as_it_is(text: str) -> None:
    assert safe(text) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (b"key", "key"),
        ("é".encode(), "é"),
        (b"\xff\x00", r"\xff\x00"),
        (b"\x1b[31m", r"\x1b[31m"),
    ],
)
def test_bytes_are_shown_as_text_where_they_are(value: bytes | None, shown: str) -> None:
    assert safe_bytes(value) == shown


@given(st.text(st.characters()))
def test_any_text_is_one_printable_line(text: str) -> None:
    shown = safe(text)
    assert not any(each in shown for each in "\n\r\t\x1b\x7f\u202e\u2028")
    assert shown.splitlines() in ([], [shown])
    shown.encode()


@given(
    st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner)), st.none() | st.just(2)
)
def test_json_says_the_same_in_safe_characters(value: object, indent: int | None) -> None:
    text = json_text(value, indent=indent)
    assert json.loads(text) == value
    assert not any(each in text for each in "\r\t\x1b\x7f\u202e\u2028")
    assert indent or "\n" not in text


def test_half_a_character_is_json_too() -> None:
    assert json_text(["\ud800", "\U000e0041\x7f"]) == r'["\ud800", "\udb40\udc41\u007f"]'
