"""What is finished above a committed offset, as text that travels in the commit's metadata.

The next owner of the partition skips it (promise 2). Reading must never mark an unfinished record
finished: text that is foreign, newer, damaged, or about another offset means "nothing known".

The text is `cm1:` and base64url of: CRC-32 of the rest (4 bytes, big-endian), then LEB128 varints:
the committed offset, the Unix milliseconds of the commit, and for each range how far it begins
above the end of the last one (the first: above the committed offset) and how long it is.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

PREFIX = "cm1:"

MAX_CHARACTERS = 3000
"""Kafka's `offset.metadata.max.bytes` is 4096 by default; what does not fit here may repeat."""

_IN_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


class Range(NamedTuple):
    """Offsets from `start` up to, but not including, `end`."""

    start: int
    end: int


class FinishedRanges:
    """What an earlier owner had finished. Ask for rising offsets only.

    A record with a timestamp after the commit cannot have been finished by then: it is from a log
    that was deleted and made anew under the same name, or from a producer whose clock is ahead.
    Either way it is handled.
    """

    __slots__ = ("_ranges", "at_ms")

    def __init__(self, ranges: Iterable[Range] = (), at_ms: int = 0) -> None:
        self._ranges = deque(ranges)
        self.at_ms: int = at_ms

    def __bool__(self) -> bool:
        return bool(self._ranges)

    @property
    def offsets(self) -> int:
        """How many offsets are said to be finished; in a log with gaps fewer records are."""
        return sum(end - start for start, end in self._ranges)

    def below(self, end: int, latest_ms: int) -> FinishedRanges:
        """What of this can be true where nothing from `end` on was handed out by `latest_ms`.

        Anybody who may commit for the group can write what he likes: CRC-32 is no signature.
        """
        if self.at_ms > latest_ms:
            return FinishedRanges()
        cut = (Range(start, min(stop, end)) for start, stop in self._ranges)
        return FinishedRanges((each for each in cut if each.start < each.end), self.at_ms)

    def remaining(self, position: int) -> Iterator[Range]:
        """What lies at or above `position`: of the rest it is known by now what became of it."""
        return (Range(max(start, position), end) for start, end in self._ranges if end > position)

    def has_finished(self, offset: int, timestamp_ms: int) -> bool:
        while self._ranges and self._ranges[0].end <= offset:
            self._ranges.popleft()
        return bool(self._ranges) and self._ranges[0].start <= offset and timestamp_ms <= self.at_ms


def encode(committed: int, ranges: Iterable[Range], at_ms: int) -> str:
    """As many of the lowest ranges as fit; nothing at all when there is none."""
    body = bytearray()
    _write(body, committed)
    _write(body, at_ms)
    fits = _bytes_that_fit(MAX_CHARACTERS - len(PREFIX))
    written, end = 0, committed
    for each in ranges:
        size = len(body)
        _write(body, each.start - end)
        _write(body, each.end - each.start)
        if len(body) + 4 > fits:
            del body[size:]
            break
        written, end = written + 1, each.end
    if not written:
        return ""
    checked = zlib.crc32(body).to_bytes(4, "big") + body
    return PREFIX + base64.urlsafe_b64encode(checked).decode().rstrip("=")


def decode(metadata: str, committed: int) -> FinishedRanges:
    """What `encode` wrote for this offset; anything else is nothing known. Never raises."""
    numbers = _checked_numbers(metadata)
    if len(numbers) < 2 or len(numbers) % 2 or numbers[0] != committed:
        return FinishedRanges()
    return FinishedRanges(_ranges_above(committed, numbers[2:]), numbers[1])


def _checked_numbers(metadata: str) -> Sequence[int]:
    """The numbers in a text of ours that nothing has damaged; else none."""
    if not metadata.startswith(PREFIX) or len(metadata) > MAX_CHARACTERS:
        return ()
    text = metadata[len(PREFIX) :]
    if not _IN_BASE64URL.fullmatch(text):  # the decoder takes "+" and "/" as well, of late with a warning
        return ()
    try:
        checked = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:  # a character too many
        return ()
    if len(checked) < 4 or int.from_bytes(checked[:4], "big") != zlib.crc32(checked[4:]):
        return ()
    return tuple(_read(checked[4:]))


def _ranges_above(committed: int, numbers: Sequence[int]) -> Iterator[Range]:
    end = committed
    for ahead, length in zip(numbers[::2], numbers[1::2], strict=True):
        start, end = end + ahead, end + ahead + length
        yield Range(start, end)


def _bytes_that_fit(characters: int) -> int:
    return characters * 3 // 4


def _write(body: bytearray, number: int) -> None:
    while number > 0x7F:
        body.append(number & 0x7F | 0x80)
        number >>= 7
    body.append(number)


def _read(body: bytes) -> Iterator[int]:
    """Whole numbers; an unfinished one at the end is left out."""
    number = shift = 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
