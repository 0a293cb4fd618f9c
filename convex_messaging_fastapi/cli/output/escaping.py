"""Text of others as a terminal may show it: on one line, and without power over the terminal.

A key that holds an escape sequence could otherwise clear the screen, and one that turns the direction of
writing could show another name than it has.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, formats (with which the direction of writing is turned), halves of characters, ends of lines."""


def safe(text: str) -> str:
    """`text` with whatever a terminal might obey written as an escape. What is safe stays as it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(each) if _is_unsafe(each) else each for each in text)


def safe_bytes(value: bytes | None) -> str:
    """Bytes as text where they are UTF-8; others as escapes, and none at all as a dash."""
    return "-" if value is None else safe(value.decode(errors="backslashreplace"))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that is safe to print: the same escapes, as JSON writes them."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join("".join(_units(each)) if _is_unsafe_in_json(each) else each for each in text)


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in _UNSAFE


def _is_unsafe_in_json(character: str) -> bool:
    # JSON has no line within a string, so each of these is one between its parts.
    return character != "\n" and _is_unsafe(character)


def _escaped(character: str) -> str:
    code = ord(character)
    if (short := _SHORT.get(character)) is not None:
        return short
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _units(character: str) -> Iterator[str]:
    """As JSON escapes it: by UTF-16."""
    encoded = character.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(encoded), 2):
        yield f"\\u{encoded[at : at + 2].hex()}"
