"""Decimals as JSON numbers with their digits intact.

Pydantic can write a `Decimal` as text or as a float, and a float loses digits. So it is written as
text that begins with a mark, and the finished JSON gets the mark and the quotes around it removed.
The mark is random, made once a process and never leaves it, so no message can forge it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages.bounds import MAX_DIGITS, MAX_EXPONENT, is_within

_MARK = secrets.token_hex(16)
_MARK_BYTES = _MARK.encode()
_MARKED_VALUE = re.compile(b'"' + _MARK_BYTES + rb'([^"\\]*)"(?!:)')  # a key, unlike a value, stays text

_KEY = "convex_messaging.decimals_as_numbers"
AS_NUMBERS: Mapping[str, Any] = {_KEY: True}
"""The serialisation context in which decimals are marked."""


def wants_numbers(context: object) -> bool:
    return context is AS_NUMBERS or (isinstance(context, dict) and _KEY in context)


def marked(number: Decimal) -> str:
    if not number.is_finite():
        raise EncodeError(f"{number} cannot be written as JSON: it has no such number")
    text = Decimal.__str__(number)
    if (len(text) > MAX_DIGITS or "E" in text) and not is_within(number):
        raise out_of_bounds("a Decimal")
    return _MARK + text


OUT_OF_BOUNDS = (
    f"a number of more than {MAX_DIGITS} digits, or with an exponent beyond {MAX_EXPONENT}, "
    "and no handler would be given it: round it, or write it as text"
)


def out_of_bounds(what: str) -> EncodeError:
    """The error of whatever is, or holds, a number that no reader of ours would take."""
    return EncodeError(f"{what} has {OUT_OF_BOUNDS}")


def restored(json: bytes) -> bytes:
    """`json` with every marked text turned into the number that it stands for."""
    if _MARK_BYTES not in json:
        return json
    return _MARKED_VALUE.sub(rb"\1", json).replace(_MARK_BYTES, b"")
