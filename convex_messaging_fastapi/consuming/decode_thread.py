"""Decodes large messages in a thread beside the event loop, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from convex_messaging_fastapi.consuming.threads import HandlerThreads


class DecodeThread:
    """A thread for each large message, which ends with it, so that there is nothing to close.

    One at a time, because parsers keep Python's lock: the loop would wait for all of thirty that ran
    side by side. It is none of the handlers' threads: handlers that never return may have all of those.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def read(self, decode: Callable[[bytes | None], Any], value: bytes) -> Any:
        """What `decode` makes of `value`, or raises."""
        async with self._turn:
            threads = HandlerThreads(1)
            try:
                return await threads.run(decode, value)
            finally:
                threads.close()
