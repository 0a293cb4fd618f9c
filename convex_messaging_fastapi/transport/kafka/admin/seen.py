"""A cluster as one broker described it. Plain values, for whoever shows them."""

from __future__ import annotations

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
    name: str
    is_internal: bool
    partitions: tuple[SeenPartition, ...]

    @property
    def replicas(self) -> int:
        """Of the partition that has the fewest."""
        return min((len(each.replicas) for each in self.partitions), default=0)


@dataclass(frozen=True, slots=True)
class SeenCluster:
    """`topics` are those that the credentials may see, by their names."""

    id: str
    brokers: tuple[SeenBroker, ...]
    topics: tuple[SeenTopic, ...]
