"""Room for a number of bytes, given in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """A caller that asks for more than the whole room waits until it is empty, and then has all of it.

    await room.take(size)
    try: ...
    finally: room.give_back(size)
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait for room for `size` bytes, and take it. Takes none if cancelled."""
        if not self._waiting and self._fits(size):
            self._taken += size
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._waiting = deque(waiting for waiting in self._waiting if waiting[1] is not granted)
                self._let_in()
            else:
                self.give_back(size)
            raise

    def give_back(self, size: int) -> None:
        self._taken -= size
        self._let_in()

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._size

    def _let_in(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, granted = self._waiting.popleft()
            if not granted.done():
                self._taken += size
                granted.set_result(None)
