"""Checks message sets of the old record formats before the engine reads them.

The engine's compiled reader follows the lengths in a set without checking the end of the buffer: one negative
length crashes the process.
"""

from __future__ import annotations

import struct

from aiokafka.errors import CorruptRecordException

_HEADER = struct.Struct(">qiIbb")  # offset, size, checksum, magic, attributes
_OVERHEAD = 12
"""The bytes of offset and size, which the size does not count."""

_LENGTH = struct.Struct(">i")
_FIELDS_AT = {0: 18, 1: 26}
"""Where the key of a message begins, by its magic byte: 1 has a timestamp before it."""

_NULL = -1


def walked(message_set: bytes) -> bytes:
    """`message_set` itself, after every length in it was checked to stay within its message.

    Raises `CorruptRecordException`. Takes time in proportion to the number of messages.
    """
    at, end = 0, len(message_set)
    while at < end:
        at = _behind(message_set, at, end)
    return message_set


def _behind(message_set: bytes, at: int, end: int) -> int:
    """Where the message that begins at `at` ends."""
    if end - at < _HEADER.size:
        raise CorruptRecordException(f"a message of {end - at} bytes in a set of the old format")
    size: int
    _, size, _, magic, _ = _HEADER.unpack_from(message_set, at)
    if magic not in _FIELDS_AT:
        raise CorruptRecordException(f"a message of magic {magic} in a set of the old format")
    ends, field = at + _OVERHEAD + size, at + _FIELDS_AT[magic]
    if not field + 2 * _LENGTH.size <= ends <= end:
        raise CorruptRecordException(f"a message of {size} bytes in a set of the old format")
    for _ in ("key", "value"):
        field = _behind_field(message_set, field, ends)
    return ends


def _behind_field(message_set: bytes, at: int, ends: int) -> int:
    value = at + _LENGTH.size
    if value <= ends:
        length: int = _LENGTH.unpack_from(message_set, at)[0]
        if length == _NULL:
            return value
        if 0 <= length <= ends - value:
            return value + length
    raise CorruptRecordException("a key or value beyond its message in a set of the old format")
