"""A broker of a hundred lines that answers what it is told to, and remembers who logged in to it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.protocol.admin import (
    ApiVersionResponse_v0,
    SaslAuthenticateResponse_v0,
    SaslHandShakeResponse_v1,
)
from aiokafka.protocol.metadata import MetadataResponse_v5

HOST = "127.0.0.1"

_METADATA, _HANDSHAKE, _VERSIONS, _AUTHENTICATE = 3, 17, 18, 36
_SUPPORTED = [(_METADATA, 5, 5), (_HANDSHAKE, 1, 1), (_VERSIONS, 0, 0), (_AUTHENTICATE, 0, 0)]

Answer = Callable[[bytes], bytes | None]


class FalseBroker:
    """`logins` holds what was said to convince it; `answers` what it says to each in turn, "" when spent."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.address = ""
        self.connections = 0
        self.logins: list[bytes] = []
        self.advertised: list[tuple[str, int]] = []
        self._answers = answers
        self._open: dict[asyncio.StreamWriter, asyncio.Event] = {}

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[writer] = ended = asyncio.Event()
        answers = iter(self._answers)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                key, _, correlation = struct.unpack_from(">hhi", request)
                body = struct.pack(">i", correlation) + self._body(key, request, answers)
                writer.write(struct.pack(">i", len(body)) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            ended.set()

    async def hang_up(self) -> None:
        for writer, ended in self._open.items():
            writer.close()
            await ended.wait()

    def _body(self, key: int, request: bytes, answers: Any) -> bytes:
        response: Any
        if key == _VERSIONS:
            response = ApiVersionResponse_v0(0, _SUPPORTED)
        elif key == _HANDSHAKE:
            response = SaslHandShakeResponse_v1(0, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
        elif key == _AUTHENTICATE:
            said = _last_field(request)
            self.logins.append(said)
            response = SaslAuthenticateResponse_v0(0, None, next(answers, lambda said: b"")(said))
        else:
            brokers = [(number, host, port, None) for number, (host, port) in enumerate(self.advertised)]
            response = MetadataResponse_v5(0, brokers, "cluster", 0, [])
        encoded: bytes = response.encode()
        return encoded


def _last_field(request: bytes) -> bytes:
    """The bytes behind the header: api, version, correlation, the client's name."""
    (name,) = struct.unpack_from(">h", request, 8)
    return request[10 + max(name, 0) + 4 :]


def first_of_scram(iterations: int | str, salt: bytes = b"c2FsdA==") -> Answer:
    """What a server says first: the client's nonce made longer, a salt, the iterations."""

    def answer(said: bytes) -> bytes:
        nonce = said.rpartition(b"r=")[2]
        return b"r=%s-more,s=%s,i=%s" % (nonce, salt, str(iterations).encode())

    return answer


@asynccontextmanager
async def false_broker(*answers: Answer) -> AsyncIterator[FalseBroker]:
    broker = FalseBroker(answers)
    async with await asyncio.start_server(broker.welcome, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        broker.address = f"{HOST}:{port}"
        broker.advertised = [(HOST, port)]
        try:
            yield broker
        finally:
            await broker.hang_up()
