"""Whether a cluster is whole is asked anew at each look, and a wait that was in vain says what it saw."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaException

from tools.kafka.cluster import Looks


class Client:
    """An admin client that was told of these brokers, or is never answered."""

    def __init__(self, brokers: list[int] | None) -> None:
        self._brokers = brokers

    def list_topics(self, timeout: float) -> Any:
        if self._brokers is None:
            raise KafkaException("timed out")
        return SimpleNamespace(brokers=dict.fromkeys(self._brokers))


def test_a_client_that_is_never_answered_is_not_asked_again() -> None:
    clients: Iterator[Client] = iter([Client(None), Client([2, 1])])
    looks = Looks(lambda: next(clients))  # type: ignore[arg-type, return-value]
    assert (looks.brokers(), looks.last) == (0, "timed out")
    assert (looks.brokers(), looks.last) == (2, "brokers [1, 2]")
