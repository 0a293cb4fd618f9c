"""Large messages are decoded beside the event loop, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from convex_messaging_fastapi.consuming.threads import HandlerThreads


class DecodeThread:
    """Reads in a thread that ends with the reading, so that there is nothing to close.

    One at a time, for parsers keep Python's lock: of thirty side by side the loop would wait for every
    one. Not among the handlers' threads, all of which may be with handlers that never return.
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
