"""Chooses the partition of a key, byte for byte as the other clients of the topic do."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import unpack_from
from typing import Literal
from zlib import crc32

from convex_messaging_fastapi.errors import ConfigurationError

PartitionerName = Literal["murmur2", "crc32"]
"""`murmur2`: Java's and aiokafka's. `crc32`: librdkafka's `consistent`, so Confluent.Kafka's and .NET's."""

REMEMBERED_KEYS = 32_768
LONGEST_REMEMBERED_KEY = 128

_MASK = 0xFFFFFFFF
_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C


class Partitioner:
    """Chooses the partition of a key: the same key and count, the same partition, in every process.

    Keys of up to 128 bytes are remembered with their hash, the latest 32,768 of them.
    """

    def __init__(self, name: PartitionerName = "murmur2") -> None:
        self._hash = _hash_named(name)
        self._remembered = lru_cache(maxsize=REMEMBERED_KEYS)(self._hash)

    def partition(self, key: bytes, count: int) -> int:
        """The partition of `key` in a topic of `count` partitions."""
        hashed = self._remembered(key) if len(key) <= LONGEST_REMEMBERED_KEY else self._hash(key)
        return hashed % count


def murmur2(key: bytes) -> int:
    """Kafka's 32-bit MurmurHash2, the sign bit cleared as Kafka's partitioners clear it."""
    length = len(key)
    hashed = _SEED ^ length
    for word in unpack_from(f"<{length // 4}I", key):
        word = word * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        hashed = hashed * _MULTIPLIER & _MASK ^ word
    if tail := key[length & ~3 :]:
        hashed = (hashed ^ int.from_bytes(tail, "little")) * _MULTIPLIER & _MASK
    hashed = (hashed ^ hashed >> 13) * _MULTIPLIER & _MASK
    return (hashed ^ hashed >> 15) & 0x7FFFFFFF


def _hash_named(name: str) -> Callable[[bytes], int]:
    hashes: dict[str, Callable[[bytes], int]] = {"murmur2": murmur2, "crc32": crc32}
    if name not in hashes:
        raise ConfigurationError(f"partitioner is 'murmur2' or 'crc32', not {name!r}")
    return hashes[name]
