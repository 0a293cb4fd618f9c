"""Numbers that all have one hash are refused before a set or a dict is made of them; others are not."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from convex_messaging_fastapi import ConvexMessage
from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.messages import codec_for
from convex_messaging_fastapi.messages.collisions import MOST_ALIKE

pytestmark = pytest.mark.cpu

MODULUS = 2**61 - 1
"""Of Python's hash of a number: its multiples all have the hash 0."""

KEYS = 4_000


class Held(ConvexMessage):
    known: dict[int, str] = {}
    seen: set[uuid.UUID] = set()


SPELLED: dict[str, tuple[Any, Callable[[list[int]], Any]]] = {
    "a set of whole numbers": (set[int], lambda ns: ns),
    "a set of whole numbers as text": (set[int], lambda ns: [str(n) for n in ns]),
    "a frozen set of decimals": (frozenset[Decimal], lambda ns: [str(n) for n in ns]),
    "keys": (dict[int, int], lambda ns: {str(n): 1 for n in ns}),
    "keys with blanks": (dict[int, int], lambda ns: {f" {n}": 1 for n in ns}),
    "keys with underscores": (dict[int, int], lambda ns: {f"{n:_}": 1 for n in ns}),
    "keys that are decimals": (dict[Decimal, int], lambda ns: {f"{n}.0": 1 for n in ns}),
    "a set of UUIDs": (set[uuid.UUID], lambda ns: [str(uuid.UUID(int=n)) for n in ns]),
    "UUIDs of other forms": (set[uuid.UUID], lambda ns: [uuid.UUID(int=n).urn for n in ns]),
    "UUIDs without dashes": (set[uuid.UUID], lambda ns: [uuid.UUID(int=n).hex for n in ns]),
    "pairs": (set[tuple[int, int]], lambda ns: [[n, 1] for n in ns]),
    "a field of a message": (Held, lambda ns: {"Known": {str(n): "x" for n in ns}}),
    "a list in a message": (Held, lambda ns: {"Seen": [str(uuid.UUID(int=n)) for n in ns]}),
}


@pytest.mark.parametrize(("annotation", "spell"), SPELLED.values(), ids=SPELLED)
@pytest.mark.parametrize("escaped", [False, True])
def test_numbers_with_one_hash_are_refused(
    annotation: Any, spell: Callable[[list[int]], Any], escaped: bool
) -> None:
    value = json.dumps(spell([MODULUS * n for n in range(1, KEYS)])).encode()
    if escaped:
        value = value.replace(b'"1', rb'"\u0031').replace(b'"2', rb'"\u0032')
    decode = codec_for(annotation).decode
    began = time.thread_time()
    with pytest.raises(DecodeError, match=f"more than {MOST_ALIKE} of its numbers have one hash"):
        decode(value)
    assert time.thread_time() - began < 0.150 * max(1, len(value) / 2**20)


@pytest.mark.parametrize("places", [1, 6, 18])
def test_fractions_with_one_hash_are_refused(places: int) -> None:
    """However small they are: the hash of a fraction is chosen by its digits as well."""
    whole = [str(MODULUS * n) for n in range(1, KEYS)]
    value = f"[{','.join(f'{n[:-places]}.{n[-places:]}' for n in whole)}]".encode()
    with pytest.raises(DecodeError, match="have one hash"):
        codec_for(set[Decimal]).decode(value)


@pytest.mark.parametrize(("annotation", "spell"), SPELLED.values(), ids=SPELLED)
def test_numbers_that_nobody_chose_are_taken(annotation: Any, spell: Callable[[list[int]], Any]) -> None:
    numbers = [10**18 + 104_729 * n for n in range(1, KEYS)]
    assert codec_for(annotation).decode(json.dumps(spell(numbers)).encode())


def test_equal_numbers_are_one() -> None:
    numbers = [MODULUS] * KEYS
    assert codec_for(set[int]).decode(json.dumps(numbers).encode()) == {MODULUS}


def test_where_nothing_is_hashed_by_a_number_nobody_looks() -> None:
    value = json.dumps([MODULUS * n for n in range(1, KEYS)]).encode()
    assert len(codec_for(list[int]).decode(value)) == KEYS - 1
