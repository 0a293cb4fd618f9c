"""Probes over HTTP for a process that serves nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from convex_messaging_fastapi.cli.exits import Ended, ExitCode

if TYPE_CHECKING:
    from convex_messaging_fastapi.status import BusStatus
    from convex_messaging_fastapi.verdicts import Verdict

PATH = "/health/kafka"
_LONGEST_HEAD = 8192
_SECONDS = 5.0
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@asynccontextmanager
async def probes(status: Callable[[], BusStatus], host: str, port: int) -> AsyncIterator[None]:
    """Answers what a `MessagingRouter` answers at the same paths. Raises `Ended` where the port is taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer(head, status))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone, or asks nothing that a probe would
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, host or None, port, limit=_LONGEST_HEAD)
    except OSError as error:
        raise Ended(
            ExitCode.USAGE, f"the probes cannot be served on {host}:{port}: {error.strerror}"
        ) from None
    try:
        yield
    finally:
        server.close()
        with suppress(OSError):
            await server.wait_closed()


def _answer(head: bytes, status: Callable[[], BusStatus]) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode("ascii", "replace")
    if method not in (b"GET", b"HEAD"):
        return _response(405, {}, is_head=False)
    if (verdict := _verdict(path, status)) is None:
        return _response(404, {}, is_head=method == b"HEAD")
    told = {"status": verdict.status} | ({"reasons": list(verdict.reasons)} if verdict.reasons else {})
    return _response(200 if verdict.ok else 503, told, is_head=method == b"HEAD")


def _verdict(path: str, status: Callable[[], BusStatus]) -> Verdict | None:
    from convex_messaging_fastapi.verdicts import live, ready, startup

    judges = {"": ready, "/ready": ready, "/live": live, "/startup": startup}
    judge = judges.get(path.removeprefix(PATH)) if path.startswith(PATH) else None
    return None if judge is None else judge(status())


def _response(code: int, body: object, *, is_head: bool) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if is_head else content)
