"""TCP proxies between Kafka's clients and its brokers, whose rules a test may change at any moment.

They run on an event loop in a thread of their own, since those who use them block. What a rule
may say is in `frames`.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from tests.support.frames import PASS, UNKNOWN, Conversation, Flow, Frame, Rule, Step, decide, due, take_whole
from tools.kafka.common import HOST, free_ports

MOST_HELD = 8 * 2**20
"""A way that holds so many bytes reads no more."""
PATIENCE_SECONDS = 10.0
SLICES_A_SECOND = 20
CHUNK = 2**16

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """One listening port in front of one broker. All calls block, and may come from any thread.

    `asked` counts requests by their API key, `lost` the answers that were dropped or replaced by a
    reset. A broker that is not there is answered for by a reset.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int, target: str, seed: int = 0) -> None:
        self.address = f"{HOST}:{port}"
        self.asked: Counter[int] = Counter()
        self.lost: Counter[int] = Counter()
        self._loop, self._port, self._target = loop, port, target
        self._rule = PASS
        self._of_clients: dict[str, Rule] = {}
        self._chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._coming: set[asyncio.Task[None]] = set()
        self._shut = False

    def follow(self, rule: Rule) -> None:
        """From now on, on open connections and new ones; what was held and may pass now does so."""

        def act() -> None:
            self._rule = rule
            self._stir()

        self._do(act)

    @contextmanager
    def following(self, rule: Rule) -> Iterator[None]:
        """Until the end of the block; then everything passes."""
        self.follow(rule)
        try:
            yield
        finally:
            self.follow(PASS)

    def single_out(self, client: str, rule: Rule | None) -> None:
        """Connections of the client with this id, also new ones, follow a rule of their own."""

        def act() -> None:
            if rule is None:
                self._of_clients.pop(client, None)
            else:
                self._of_clients[client] = rule
            self._stir()

        self._do(act)

    def set_apart(self, rule: Rule | None) -> None:
        """The connections that are open now follow a rule of their own; `None`: the common one again."""

        def act() -> None:
            for connection in self._connections:
                connection.own = rule
            self._stir()

        self._do(act)

    def reset(self) -> None:
        """RST to both ends of every connection; what was held is lost."""
        self._end_all(by_reset=True)

    def close(self) -> None:
        """End every connection in order; what was held is lost."""
        self._end_all(by_reset=False)

    @property
    def connections(self) -> int:
        return len(self._connections)

    def held(self) -> Counter[int]:
        """How many frames wait now, both ways together, by API key."""
        return self._do(lambda: Counter(api for conn in self._connections for api in conn.waiting()))

    def _end_all(self, *, by_reset: bool) -> None:
        def act() -> None:
            for connection in self._connections:
                connection.end(by_reset=by_reset)

        self._do(act)

    def _do(self, act: Callable[[], T]) -> T:
        """On the loop, as everything else that touches connections."""

        async def acting() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(acting(), self._loop).result(PATIENCE_SECONDS)

    # What runs on the loop.

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._welcome, HOST, self._port)

    async def shut(self) -> None:
        assert self._server is not None
        self._shut = True
        self._server.close()
        for coming in tuple(self._coming):
            coming.cancel()
        await asyncio.gather(*self._coming, return_exceptions=True)

    def rule_for(self, client: str) -> Rule:
        return self._of_clients.get(client, self._rule)

    def luck(self) -> float:
        return self._chance.random()

    def _stir(self) -> None:
        for connection in self._connections:
            connection.stir()

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def gone(coming: asyncio.Task[None]) -> None:
            self._coming.discard(coming)
            writer.close()  # it may have been cancelled before it began, or while it looked for its broker

        if self._shut:
            writer.close()  # it was accepted before
            return
        coming = self._loop.create_task(self._serve((reader, writer)))
        self._coming.add(coming)
        coming.add_done_callback(gone)

    async def _serve(self, client: Streams) -> None:
        host, port = self._target.split(":")
        try:
            if self._rule.refuse:
                raise ConnectionRefusedError
            broker = await asyncio.open_connection(host, int(port))
        except OSError:
            await _leave(client[1], by_reset=True)
            return
        connection = _Connection(self, client, broker)
        running = self._loop.create_task(connection.run())
        self._connections[connection] = running
        try:
            await asyncio.wait([running])
        finally:
            del self._connections[connection]
            running.cancel()
            await _leave(client[1], broker[1], by_reset=connection.by_reset, at_once=self._shut)


class _Connection:
    """A client's way to its broker, and back."""

    def __init__(self, proxy: Proxy, client: Streams, broker: Streams) -> None:
        self.own: Rule | None = None
        self.by_reset = False
        self._proxy = proxy
        self._said = Conversation()
        self._ends = asyncio.Event()
        self._there = _Way(client[0], broker[1], lambda: self._rule().there, self._asked, proxy.luck)
        self._back = _Way(broker[0], client[1], lambda: self._rule().back, self._answered, proxy.luck)

    async def run(self) -> None:
        """Until an end was passed on to the other side, or somebody ends it."""
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(step)
                for step in (
                    self._there.read(),
                    self._back.read(),
                    self._pass_on(self._there, Counter()),
                    self._pass_on(self._back, self._proxy.lost),
                )
            ]
            await self._ends.wait()
            for task in work:
                task.cancel()

    def end(self, *, by_reset: bool) -> None:
        self.by_reset = by_reset
        self._ends.set()

    def stir(self) -> None:
        self._there.stir()
        self._back.stir()

    def waiting(self) -> list[int]:
        return [*self._there.waiting(), *self._back.waiting()]

    async def _pass_on(self, way: _Way, lost: Counter[int]) -> None:
        while True:
            frame, step = await way.next()
            if step is not Step.SEND:
                lost[frame.api] += 1
            if step is Step.RESET or not frame.data:
                self.end(by_reset=step is Step.RESET)
                return
            if step is Step.SEND:
                await way.send(frame.data)

    def _rule(self) -> Rule:
        return self.own or self._proxy.rule_for(self._said.client)

    def _asked(self, frame: bytes) -> int:
        api = self._said.asked(frame)
        self._proxy.asked[api] += 1
        return api

    def _answered(self, frame: bytes) -> int:
        return self._said.answered(frame)


class _Way:
    """One direction of one connection: what was read and is not yet passed on."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flow: Callable[[], Flow],
        api_of: Callable[[bytes], int],
        luck: Callable[[], float],
    ) -> None:
        self._reader, self._writer = reader, writer
        self._flow, self._api_of, self._luck = flow, api_of, luck
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._stirred, self._emptied = asyncio.Event(), asyncio.Event()

    def stir(self) -> None:
        """Something about the rule has changed."""
        self._stirred.set()

    def waiting(self) -> list[int]:
        return [frame.api for frame in self._frames if frame.data]

    async def read(self) -> None:
        """Take frames in until their end, which is a frame too."""
        rest = bytearray()
        while data := await self._some():
            rest += data
            for frame in take_whole(rest):
                self._put(frame, self._api_of(frame))
            await self._room()
        if rest:
            self._put(bytes(rest), UNKNOWN)
        self._put(b"", UNKNOWN)

    async def next(self) -> tuple[Frame, Step]:
        """The first frame, once something is to be done with it, and what that is."""
        while True:
            self._stirred.clear()
            flow, now = self._flow(), asyncio.get_running_loop().time()
            step = decide(flow, self._frames[0], now) if self._frames else Step.WAIT
            if step is not Step.WAIT:
                return self._take(), step
            await self._wait(due(flow, self._frames[0]) - now if self._frames else 0)

    async def send(self, data: bytes) -> None:
        """At the speed of the line. What is sent to somebody who has gone is lost."""
        with suppress(ConnectionError):
            at = 0
            while at < len(data):
                speed = self._flow().bytes_a_second
                size = len(data) if speed is None else max(1, int(speed / SLICES_A_SECOND))
                self._writer.write(data[at : at + size])
                await self._writer.drain()
                at += size
                if speed is not None:
                    await asyncio.sleep(size / speed)  # simulates work: of a narrow line

    async def _some(self) -> bytes:
        """Nothing at the end, whether it came in order or by a reset."""
        try:
            return await self._reader.read(CHUNK)
        except ConnectionError:
            return b""

    def _put(self, data: bytes, api: int) -> None:
        now = asyncio.get_running_loop().time()
        self._frames.append(Frame(data, api, now, self._luck()))
        self._bytes += len(data)
        self.stir()

    def _take(self) -> Frame:
        frame = self._frames.popleft()
        self._bytes -= len(frame.data)
        self._emptied.set()
        return frame

    async def _room(self) -> None:
        while self._bytes >= MOST_HELD:
            self._emptied.clear()
            await self._emptied.wait()

    async def _wait(self, seconds: float) -> None:
        """For news; no longer than these seconds, if there are any."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds if seconds > 0 else None):
                await self._stirred.wait()


async def _leave(*writers: asyncio.StreamWriter, by_reset: bool, at_once: bool = False) -> None:
    """Close them in order, which takes as long as the other side takes to read what was sent to it."""
    for writer in writers:  # all of them, before this can be cancelled
        if by_reset:
            with suppress(OSError):  # it is closed already
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if by_reset or at_once:
            writer.transport.abort()
        writer.close()
    try:
        for writer in writers:
            with suppress(OSError):  # the other side has reset it
                await writer.wait_closed()
    finally:
        for writer in writers:
            writer.transport.abort()  # cancelled: whoever has not read by now may never do so


@contextmanager
def proxies_of(targets: Mapping[int, str]) -> Iterator[dict[int, Proxy]]:
    """A listening proxy for each address, by the same number. At the end their connections are gone.

    Nobody needs to listen at the addresses yet.
    """
    with _loop_in_a_thread() as loop, ExitStack() as ends:
        free = free_ports()
        proxies = {id: Proxy(loop, next(free), target, seed=id) for id, target in targets.items()}
        for proxy in proxies.values():
            _run(loop, proxy.open)
            ends.callback(_run, loop, proxy.shut)
        yield proxies


def _run(loop: asyncio.AbstractEventLoop, step: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run_coroutine_threadsafe(step(), loop).result(PATIENCE_SECONDS)


@contextmanager
def _loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_SECONDS)
        loop.close()
