"""The bounds of a message's bytes before they are decoded, so that its cost is in proportion to its size.

A parser's time and memory depend on what the bytes say: a million digits, a million empty objects and a
thousand levels are each a short text. What exceeds a bound is refused before anything is built from it.
Every check here takes time in proportion to the number of bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import accumulate

MAX_DEPTH = 100
MAX_DIGITS = 400
MAX_EXPONENT = 400
"""Of a number as it is written with one digit before the point: 1e400 is within, 10e400 is beyond."""

LARGE_BYTES = 256 * 1024
"""A larger value is decoded in a thread, so that the event loop serves others meanwhile."""

LONG_BYTES = 16 * 1024
"""From this size on a value is read with the garbage collector switched off."""

SHORT_BYTES = 200
"""So few bytes cannot have too many members, levels or digits."""

_LONGEST_NUMBER = 1000
"""Characters: one of 400 digits may begin with as many zeros behind its point."""

_DEAD_LETTER_ITEMS = 10_000
"""More than any dead letter of ours has, its headers included."""


class OutOfBounds(ValueError):
    """Bytes beyond a bound, which are not decoded. The text repeats none of them."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """`max_items` counts the members of objects and arrays: every `{`, `[` and `,` outside texts."""

    max_bytes: int = 10 * 1024 * 1024
    max_items: int = 100_000

    @property
    def of_dead_letters(self) -> Bounds:
        """For records of the dead-letter topic, which hold a whole message as text or in base64."""
        return Bounds(dead_letter_bytes(self.max_bytes), max(self.max_items, _DEAD_LETTER_ITEMS))

    def check(self, value: bytes) -> None:
        """Raise `OutOfBounds`, with a sentence that says which bound it was."""
        if len(value) > self.max_bytes:
            raise OutOfBounds(f"it has {len(value)} bytes, and max_message_bytes is {self.max_bytes}")
        opened = value.count(b"{") + value.count(b"[")
        odd = _may_hold_a_number_beyond(value)
        few = len(value) <= self.max_items or opened + value.count(b",") <= self.max_items
        if few and not odd and opened <= MAX_DEPTH:
            return
        bare = _without_escapes(value)
        if bare.count(b'"') > 4 * self.max_items + 2:  # two texts a member, or it is no JSON
            raise self._too_many()
        outside = _outside_texts(bare)
        self._check_structure(outside)
        if odd and not _all_within(outside):
            raise OutOfBounds(
                f"a number has more than {MAX_DIGITS} digits, or its exponent is beyond {MAX_EXPONENT}"
            )

    def _check_structure(self, outside: bytes) -> None:
        if len(outside) - len(outside.translate(None, b"{[,")) > self.max_items:
            raise self._too_many()
        steps = outside.translate(_STEPS, _NO_BRACKETS)
        if max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH:
            raise OutOfBounds(f"it is nested more than {MAX_DEPTH} levels deep")

    def _too_many(self) -> OutOfBounds:
        return OutOfBounds(f"it has more members than max_message_items ({self.max_items})")


def dead_letter_bytes(max_message_bytes: int) -> int:
    """The most bytes of a dead letter about a message of so many bytes."""
    return 2 * max_message_bytes + 64 * 1024


def is_within(number: Decimal) -> bool:
    """Whether the length and the exponent of a decimal are within the bounds."""
    if not number.is_finite():
        return True  # an infinity or NaN, which is refused elsewhere
    if abs(number.adjusted()) > MAX_EXPONENT:
        return False
    return len(str(number)) <= MAX_DIGITS or len(number.as_tuple().digits) <= MAX_DIGITS


def numbers_are_within(written: bytes) -> bool:
    """Whether what was written may be read again, as far as numbers go that are no texts."""
    return not _has_long_number(written) or _all_within(_outside_texts(_without_escapes(written)))


def has_large_exponent(value: bytes) -> bool:
    """Whether there may be a number with an exponent of three digits or more."""
    # First a quick look: the pattern takes several times as long, and nearly nothing has such digits.
    return value.translate(_DIGITS).find(_EXPONENT) >= 0 and _large_exponent(value) is not None


def _may_hold_a_number_beyond(value: bytes) -> bool:
    digits = value.translate(_DIGITS)
    return _has_long_run(digits) or (digits.find(_EXPONENT) >= 0 and _large_exponent(value) is not None)


def _has_long_number(value: bytes) -> bool:
    sampled = value[_STEP - 1 :: _STEP].translate(_DIGITS)
    return sampled.find(_SAMPLED) >= 0 and _LONG_RUN in value.translate(_DIGITS)


def _has_long_run(digits: bytes) -> bool:
    """Whether more of them stand in a row than a number may have."""
    return digits[_STEP - 1 :: _STEP].find(_SAMPLED) >= 0 and _LONG_RUN in digits


def may_hold_large_decimals(value: bytes) -> bool:
    """Whether there may be a number, or text that `Decimal` reads as one, out of bounds.

    It takes digits of every script and underscores between them, and JSON may escape each.
    """
    digits = value.translate(_DIGITS_OF_TEXT)
    return (
        (digits.find(_EXPONENT) >= 0 and _large_exponent_of_text(value) is not None)
        or (len(value) > MAX_DIGITS and _has_long_run(digits))
        or (_BACKSLASH in value and value.find(b"\\u") >= 0)
    )


def _without_escapes(value: bytes) -> bytes:
    """`value` with no quotation marks but those around its texts."""
    return value.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in value else value


def _outside_texts(bare: bytes) -> bytes:
    """What stands between the texts; each text is left as one quotation mark."""
    return b'"'.join(bare.split(b'"')[::2])


def _table(digits: bytes) -> bytes:
    """Every digit and sign as `0`, the letter of an exponent as `e`, all else as a blank."""
    return bytes(ord("0" if byte in digits else "e" if byte in b"eE" else " ") for byte in range(256))


_EXPONENT = b"0e000"
_LONG_RUN = b"0" * MAX_DIGITS
_STEP, _SAMPLED = 100, b"0" * (MAX_DIGITS // 100)
"""In a long run of digits every hundredth byte is one: looking at these first costs next to nothing."""

_BACKSLASH = 0x5C
"""As a number: looking for one byte takes a tenth of the time that looking for two takes."""

_DIGITS = _table(b"0123456789.+-")
_DIGITS_OF_TEXT = _table(b"0123456789._+-" + bytes(range(0x80, 0x100)))

_NO_BRACKETS = bytes(frozenset(range(256)) - frozenset(b"{[]}"))
_STEPS = bytes(1 if byte in b"{[" else 255 if byte in b"]}" else 0 for byte in range(256))
"""A level down and a level up again, as signed bytes."""

# None of these reads a digit twice: a number begins only where no character of a number stands before.
_large_exponent = re.compile(rb"(?<![0-9A-Za-z.])[0-9.]+[eE][+-]?[0-9]{3}").search
_large_exponent_of_text = re.compile(
    rb"(?<![0-9A-Za-z._\x80-\xff])[0-9._\x80-\xff]+[eE][+-]?[0-9_\x80-\xff]{3}"
).search
_has_thousands = re.compile(rb"[0-9][eE][+-]?0*[1-9][0-9]{3}").search
_numbers = re.compile(rb"[0-9][0-9.eE+-]{4,}").findall


def _all_within(outside: bytes) -> bool:
    """Whether every number is within the bounds; the parser refuses what is no number."""
    return _has_thousands(outside) is None and all(map(_is_within, frozenset(_numbers(outside))))


def _is_within(number: bytes) -> bool:
    if len(number) > _LONGEST_NUMBER:
        return False
    try:
        exact = Decimal(number.decode("ascii"))
    except InvalidOperation:
        return True
    return is_within(exact) if len(number) > MAX_DIGITS else abs(exact.adjusted()) <= MAX_EXPONENT
