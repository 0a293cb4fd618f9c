"""Ids of messages: random UUIDs, drawn many at a time, for drawing one costs more than encoding a message."""

from __future__ import annotations

import os

AT_ONCE = 256

_BYTES = 16
_VARIANTS = "89ab"

_ready: list[str] = []


def new_message_id() -> str:
    """A version 4 UUID in its usual form."""
    while True:
        try:
            return _ready.pop()
        except IndexError:  # another thread may take all of these, too
            _ready.extend(_draw())


def _draw() -> list[str]:
    digits = os.urandom(_BYTES * AT_ONCE).hex()
    return [_formed(digits[at : at + 2 * _BYTES]) for at in range(0, len(digits), 2 * _BYTES)]


def _formed(h: str) -> str:
    variant = _VARIANTS[int(h[16], 16) & 3]
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{variant}{h[17:20]}-{h[20:]}"


if hasattr(os, "register_at_fork"):
    # Or parent and child would both give out what is ready.
    os.register_at_fork(after_in_child=_ready.clear)
