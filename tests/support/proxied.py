"""A real Kafka of three brokers that its clients reach only through proxies.

Each broker has a listener of its own for clients, whose advertised address is its proxy's. Brokers
talk to each other directly, and so do tests, which see the truth while the clients are cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from tests.support.frames import Rule
from tests.support.proxy import Proxy, proxies_of
from tools.kafka import by_maven
from tools.kafka.cluster import Broker, Cluster
from tools.kafka.common import HOST, free_ports

SIZE = 3


@dataclass(frozen=True)
class Proxied:
    """`proxies` go by the ids of the brokers they stand before."""

    cluster: Cluster
    proxies: Mapping[int, Proxy]

    @property
    def origin(self) -> str:
        return self.cluster.origin

    def before(self, broker: Broker) -> Proxy:
        return self.proxies[broker.id]

    def follow(self, rule: Rule) -> None:
        for proxy in self.proxies.values():
            proxy.follow(rule)

    @contextmanager
    def following(self, rule: Rule) -> Iterator[None]:
        """All of them, until the end of the block; then everything passes."""
        with ExitStack() as ends:
            for proxy in self.proxies.values():
                ends.enter_context(proxy.following(rule))
            yield

    def single_out(self, client: str, rule: Rule | None) -> None:
        for proxy in self.proxies.values():
            proxy.single_out(client, rule)

    def set_apart(self, rule: Rule | None) -> None:
        for proxy in self.proxies.values():
            proxy.set_apart(rule)

    def reset(self) -> None:
        for proxy in self.proxies.values():
            proxy.reset()

    def asked(self, api: int) -> int:
        return sum(proxy.asked[api] for proxy in self.proxies.values())

    def lost(self, api: int) -> int:
        return sum(proxy.lost[api] for proxy in self.proxies.values())

    def held(self, api: int) -> int:
        return sum(proxy.held()[api] for proxy in self.proxies.values())


class _Ports(NamedTuple):
    plain: int
    clients: int
    controller: int


@contextmanager
def proxied_cluster() -> Iterator[Proxied]:
    """A ready one. Raises `Unavailable` without a Java or the jars."""
    free = free_ports()
    ports = {id: _Ports(next(free), next(free), next(free)) for id in range(1, SIZE + 1)}
    with ExitStack() as ends:
        proxies = ends.enter_context(proxies_of({id: f"{HOST}:{p.clients}" for id, p in ports.items()}))
        cluster = by_maven.start(SIZE, ends, [p.plain for p in ports.values()], _extras(ports, proxies))
        cluster.wait_ready()
        bootstrap = ",".join(proxy.address for proxy in proxies.values())
        yield Proxied(
            Cluster(bootstrap, cluster.origin, SIZE, cluster.brokers, witnessed=cluster.bootstrap), proxies
        )


def _extras(ports: Mapping[int, _Ports], proxies: Mapping[int, Proxy]) -> by_maven.Extras:
    common = {
        "controller.quorum.voters": ",".join(f"{id}@{HOST}:{p.controller}" for id, p in ports.items()),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
    return by_maven.Extras(common, each={id: _listeners(p, proxies[id].address) for id, p in ports.items()})


def _listeners(ports: _Ports, advertised: str) -> dict[str, str]:
    plain = f"PLAINTEXT://{HOST}:{ports.plain}"
    return {
        "listeners": f"{plain},CLIENT://{HOST}:{ports.clients},CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": f"{plain},CLIENT://{advertised}",
    }
