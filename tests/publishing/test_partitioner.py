"""Keys go where confluent-kafka (librdkafka) sends them, and so .NET and Java with the same partitioner.

`golden_partitions.json` holds what librdkafka's `murmur2` and `consistent` partitioners answer; the
largest count there shows every bit of a hash.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.publishing import Partitioner, PartitionerName
from convex_messaging_fastapi.publishing import partitioner as module

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "golden_partitions.json").read_text(encoding="utf-8")
)
MOCK_PARTITIONS = 4
KEYS = [b"", *(f"{kind}-{number}".encode() for number in range(250) for kind in ("user", "x", "bet", "é"))]


@pytest.mark.parametrize("name", ["murmur2", "crc32"])
def test_golden_vectors(name: PartitionerName) -> None:
    partitioner = Partitioner(name)
    answers = [partitioner.partition(vector["key"].encode(), vector["count"]) for vector in GOLDEN]
    assert answers == [vector[name] for vector in GOLDEN]


@pytest.mark.parametrize(("name", "theirs"), [("murmur2", "murmur2"), ("crc32", "consistent")])
def test_a_thousand_keys_and_the_empty_one_go_where_confluent_kafka_sends_them(
    name: PartitionerName, theirs: str
) -> None:
    partitioner = Partitioner(name)
    ours = {key: partitioner.partition(key, MOCK_PARTITIONS) for key in KEYS}
    assert ours == partitions_of_confluent_kafka(theirs)


def test_a_key_is_hashed_once_and_a_huge_one_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []

    def counting(key: bytes) -> int:
        hashed.append(key)
        return 7

    monkeypatch.setattr(module, "murmur2", counting)
    partitioner = Partitioner("murmur2")
    huge = b"x" * (module.LONGEST_REMEMBERED_KEY + 1)
    for _ in range(3):
        assert partitioner.partition(b"user-1", 5) == 2
        assert partitioner.partition(huge, 5) == 2
    assert hashed.count(b"user-1") == 1
    assert hashed.count(huge) == 3


def test_an_unknown_partitioner_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigurationError, match="'murmur2' or 'crc32', not 'random'"):
        Partitioner("random")  # type: ignore[arg-type]


def partitions_of_confluent_kafka(partitioner: str) -> dict[bytes, int]:
    """Where its producer delivers `KEYS`, on the mock cluster that its library carries."""
    landed: dict[bytes, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None
        landed[message.key() or b""] = message.partition() or 0

    producer = Producer(
        {
            "test.mock.num.brokers": 1,
            "bootstrap.servers": "unused",
            "partitioner": partitioner,
            "log_level": 0,
        }
    )
    for key in KEYS:
        producer.produce("keys", key=key, value=b"", on_delivery=delivered)
    assert producer.flush(30) == 0
    return landed
