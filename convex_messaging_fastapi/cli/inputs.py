"""What comes from a file or through a pipe, as it comes, without holding up the event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from io import BufferedIOBase

_AT_ONCE_BYTES = 1 << 16


async def texts(source: BufferedIOBase, *, a_line_each: bool) -> AsyncGenerator[list[bytes], None]:
    """Everything as one text, or the lines that are there, but those that are empty."""
    begun = b""
    async for piece in _pieces(source):
        begun += piece
        if a_line_each:
            *lines, begun = begun.split(b"\n")
            if whole := [line for line in lines if line.strip()]:
                yield whole
    if begun.strip() or not a_line_each:
        yield [begun]


async def _pieces(source: BufferedIOBase) -> AsyncGenerator[bytes, None]:
    while True:
        await _has_more(source)
        if not (piece := source.read1(_AT_ONCE_BYTES)):
            return
        yield piece


async def _has_more(source: BufferedIOBase) -> None:
    """Waits for whoever writes into the pipe; a file and bytes in memory have all of it at once."""
    import asyncio

    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(source.fileno(), arrived.set)
    except OSError:  # io.UnsupportedOperation too: there is nothing to wait for
        return
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(source.fileno())
