"""Cuts a large message out of its letter before the rest is parsed.

A letter of 5 MB is a message of 5 MB and a kilobyte about it. The parser would take 10 ms for the message,
and as much memory again.
"""

from __future__ import annotations

from typing import NamedTuple

_TEXT = b',"OriginalMessage":"'
_BASE64 = b',"OriginalMessageBase64":"'
_BEHIND_TEXT = b',"OriginalMessageBase64":'
_WITHIN = 1024
"""Both stand behind the topic, of which Kafka takes 249 characters."""


class Payload(NamedTuple):
    """A message as it stands between the quotation marks of its letter."""

    written: bytes
    is_base64: bool


def cut(value: bytes) -> tuple[bytes, Payload] | None:
    """The letter with null in place of its message, and the message; `None` where it is not as we write it.

    Of bytes that are no JSON it may cut out anything, which then cannot be read as a message.
    """
    start = value.find(_TEXT, 0, _WITHIN)
    if start >= 0:
        begin = start + len(_TEXT)
        # Inside a text a quotation mark stands behind a backslash, never behind a comma.
        end = value.find(_BEHIND_TEXT, begin) - 1
        is_base64 = False
    else:
        start = value.find(_BASE64, 0, _WITHIN)
        begin = start + len(_BASE64)
        end = value.find(b'"', begin) if start >= 0 else -1
        is_base64 = True
    if end < begin or value[end : end + 1] != b'"':
        return None
    return value[: begin - 1] + b"null" + value[end + 1 :], Payload(value[begin:end], is_base64)
