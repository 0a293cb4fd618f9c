"""A cluster as its brokers described it. Plain values, for whoever shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeenBroker:
    """`host` and `port` are those that it wants clients to come to."""

    id: int
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SeenPartition:
    """Brokers by their ids; `leader` is `None` while there is none."""

    id: int
    leader: int | None
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SeenTopic:
    """`rights` are what the credentials may do with it (`READ`, `WRITE`); `None` where no broker tells."""

    name: str
    is_internal: bool
    partitions: tuple[SeenPartition, ...]
    rights: frozenset[str] | None = None

    @property
    def replicas(self) -> int:
        """Of the partition that has the fewest."""
        return min((len(each.replicas) for each in self.partitions), default=0)


@dataclass(frozen=True, slots=True)
class SeenCluster:
    """`topics` are those that were asked for and that there are, by their names.

    `forbidden` are those of which these credentials are told nothing. `rights` are those on the cluster.
    """

    id: str
    brokers: tuple[SeenBroker, ...]
    topics: tuple[SeenTopic, ...]
    forbidden: frozenset[str] = frozenset()
    rights: frozenset[str] | None = None

    def topic(self, name: str) -> SeenTopic | None:
        return next((topic for topic in self.topics if topic.name == name), None)


@dataclass(frozen=True, slots=True)
class SeenGroup:
    """`state` is Kafka's word, `Dead` for a group that there is not. `hosts` are those of its members."""

    name: str
    state: str
    hosts: tuple[str, ...]
    rights: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Knock:
    """What became of one connection to one address.

    `problem` is a word of the closed list that probes show, empty where all went well; `detail` is the
    sentence to it. `versions` are the broker's for each kind of request, by its number; `mechanisms` are
    the ways to log in that it offers, asked for where it refused.
    """

    server: str
    problem: str = ""
    detail: str = ""
    versions: Mapping[int, tuple[int, int]] | None = None
    brokers: tuple[SeenBroker, ...] = ()
    mechanisms: tuple[str, ...] = ()
