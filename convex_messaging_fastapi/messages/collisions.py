"""Refuses numbers that were chosen so that a set or a dict takes a hundred times as long with them.

Python hashes text with a secret and numbers without one: thousands of different numbers with the same
hash are easily made, and each is then compared with all before it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from jiter import from_json

from convex_messaging_fastapi.messages.bounds import MAX_DIGITS, OutOfBounds, is_within

MOST_ALIKE = 100
"""How many different numbers may have one hash. Among 100,000 that nobody chose no two do."""

_SHORTEST = 17
"""Shorter numbers cannot share a hash, or too few of them can."""

_may_hold_long_numbers = re.compile(rb"[0-9A-Fa-f._+\-\x80-\xff]{%d}|\\u" % _SHORTEST).search
"""Texts may hold digits of any script, and JSON may escape each."""

_UUID_DIGITS = 32
_HEXADECIMAL = frozenset("0123456789abcdef")


def refuse_collisions(value: bytes) -> None:
    """Raise `OutOfBounds` where many numbers of a JSON document, texts and keys included, have one hash."""
    if _may_hold_long_numbers(value) is None:
        return
    try:
        document = from_json(value, float_mode="decimal")
    except ValueError:
        return  # no JSON: the reader will say so
    # By their text, whose hash nobody can choose, and so that equal ones count once.
    different = {str(number): number for number in _long_numbers_in(document)}
    if len(different) <= MOST_ALIKE:
        return
    alike = Counter(map(hash, different.values()))
    if max(alike.values()) > MOST_ALIKE:
        raise OutOfBounds(f"more than {MOST_ALIKE} of its numbers have one hash")


def _long_numbers_in(document: Any) -> Iterator[int | Decimal]:
    waiting = [document]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if kind is dict:
            waiting.extend(one.keys())
            waiting.extend(one.values())
        elif kind is list:
            waiting.extend(one)
        elif kind is str:
            if _SHORTEST <= len(one) <= MAX_DIGITS:
                yield from _numbers_of(one)
        elif (kind is int or kind is Decimal) and len(str(one)) >= _SHORTEST:
            yield one


def _numbers_of(text: str) -> Iterator[int | Decimal]:
    """The number, or the UUID's, that a text stands for; `Decimal` reads all that `int` does, and more."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        digits = text.lower().removeprefix("urn:uuid:").strip("{}").replace("-", "")
        if len(digits) == _UUID_DIGITS and _HEXADECIMAL.issuperset(digits):
            yield int(digits, 16)
    else:
        if number.is_finite() and is_within(number):
            yield number
