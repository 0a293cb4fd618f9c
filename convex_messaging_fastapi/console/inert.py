"""Text of others as a page may show it: nothing in it hides, or turns the direction of writing.

A key may hold an escape sequence, a right-to-left override, or a character of no width: each is shown as an
escape, so that two names that look alike are alike. HTML is not escaped here: templates do that.
"""

from __future__ import annotations

import unicodedata

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, formats, halves of characters, ends of lines."""


def inert(text: object) -> str:
    """One line."""
    return _shown(str(text), keep="")


def inert_lines(text: object) -> str:
    """The same with its lines and tabs, for what is shown as it is."""
    return _shown(str(text), keep="\n\t")


def carried(text: str) -> str:
    """The text itself, with halves of characters escaped: no encoding carries those."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _shown(text: str, keep: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each if each in keep or unicodedata.category(each) not in _UNSEEN else _escape(each) for each in text
    )


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
