"""A real Kafka of one broker that can be restarted at another address, and a door that stays where it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from tools.kafka import by_maven
from tools.kafka.cluster import Cluster
from tools.kafka.common import HOST, free_ports


class Movable:
    def __init__(self, cluster: Cluster, broker: by_maven.ProcessBroker) -> None:
        self.cluster = cluster
        self._broker = broker

    @property
    def address(self) -> str:
        return self._broker.address

    def move(self) -> None:
        """Kill the broker, and start it on its old data at an address that no client has heard of."""
        self._broker.kill()
        old, new = self._broker.address, f"{HOST}:{next(free_ports())}"
        properties = Path(self._broker._command[-1])
        properties.write_text(properties.read_text().replace(old, new))
        self._broker.address = self.cluster.bootstrap = new
        self._broker.start()
        self.cluster.wait_ready()


@contextmanager
def movable_cluster() -> Iterator[Movable]:
    """Raises `Unavailable` without a Java or the jars."""
    with ExitStack() as ends:
        cluster = by_maven.start(1, ends)
        cluster.wait_ready()
        (broker,) = cluster.brokers
        assert isinstance(broker, by_maven.ProcessBroker)
        yield Movable(cluster, broker)


@asynccontextmanager
async def door_to(movable: Movable) -> AsyncIterator[str]:
    """An address that leads to wherever the broker is when somebody comes."""
    open_ways: set[asyncio.Task[None]] = set()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = movable.address.split(":")
        try:
            there, back = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()  # nobody is there now: so whoever came is told
            return
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer), return_exceptions=True)

    def remember(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = asyncio.ensure_future(lead(reader, writer))
        open_ways.add(way)
        way.add_done_callback(open_ways.discard)
        way.add_done_callback(lambda _: writer.close())

    async with await asyncio.start_server(remember, HOST, 0) as server:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"
        for way in open_ways:
            way.cancel()
        await asyncio.gather(*open_ways, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
