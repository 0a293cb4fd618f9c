"""How large a dead letter may be, as far as is known of the topic that takes them."""

from __future__ import annotations

from collections.abc import Iterator

from convex_messaging_fastapi.clock import Clock

SMALLEST_LETTER_BYTES = 1000
"""What a letter may measure that only says where its original is: it fits nearly any topic."""

ORDINARY_LETTER_BYTES = 1_048_588 - 1024
"""What a topic made with Kafka's defaults takes, and a little less: the best guess once one is too large."""

REMEMBERED_SECONDS = 60.0


class LetterSizes:
    """From the largest there may be down to the smallest, without those that were refused within a minute.

    The limit of a topic is learnt so, for one that was there before us is left as it is.
    """

    def __init__(self, largest: int, clock: Clock) -> None:
        self._largest = largest
        self._clock = clock
        self._refused = largest + 1
        self._until = 0.0

    def __iter__(self) -> Iterator[int]:
        """What a letter may measure, in bytes; a refusal told meanwhile counts at once."""
        size = self._largest
        while size > SMALLEST_LETTER_BYTES:
            if size < self._smallest_refused():
                yield size
            size = _next_below(size)
        yield SMALLEST_LETTER_BYTES

    def refuse(self, size: int) -> None:
        """A letter of so many bytes was too large."""
        self._refused = min(size, self._smallest_refused())
        self._until = self._clock.now() + REMEMBERED_SECONDS

    def _smallest_refused(self) -> int:
        return self._refused if self._clock.now() < self._until else self._largest + 1


def _next_below(size: int) -> int:
    half = size // 2
    return ORDINARY_LETTER_BYTES if half < ORDINARY_LETTER_BYTES < size else half
