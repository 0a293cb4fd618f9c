"""The wire bench: librdkafka's mock cluster, in this process, with every fault at hand.

It speaks Kafka's protocol over loopback sockets from the shared library inside the confluent-kafka
wheel: any error code, brokers down and up, slow answers, leaders that move. It is no Kafka: it
keeps no promise about transactions, sequences, or groups of more than one member.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

_PRODUCER = 0
_ERROR_TEXT = 512


class Api(IntEnum):
    """Numbers of Kafka's requests, as the protocol has them."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    END_TXN = 26


class WireCluster:
    """A cluster of brokers numbered from 1. Topics exist once `topic` has made them."""

    def __init__(self, brokers: int = 1) -> None:
        self._lib = _library()
        self._brokers = range(1, brokers + 1)
        error = ctypes.create_string_buffer(_ERROR_TEXT)
        quiet = self._lib.rd_kafka_conf_new()
        self._lib.rd_kafka_conf_set(quiet, b"log_level", b"3", error, _ERROR_TEXT)
        self._client = self._lib.rd_kafka_new(_PRODUCER, quiet, error, _ERROR_TEXT)
        if not self._client:
            raise RuntimeError(f"the wire bench did not start: {error.value.decode()}")
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._client, brokers)
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)

    @property
    def bootstrap_servers(self) -> str:
        return str(self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def topic(self, name: str, partitions: int = 1, replicas: int = 1) -> str:
        self._must(self._lib.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, replicas))
        return name

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Let retention remove every record below `before`."""
        self._must(
            self._lib.rd_kafka_mock_partition_delete_records(self._cluster, topic.encode(), partition, before)
        )

    def push_errors(self, api: Api, *errors: int) -> None:
        """The next requests of this kind, on any broker, are answered with these codes; 0 = as usual."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._lib.rd_kafka_mock_push_request_errors_array(self._cluster, int(api), len(errors), codes)

    def clear_errors(self, api: Api) -> None:
        self._lib.rd_kafka_mock_clear_request_errors(self._cluster, int(api))

    def down(self, *brokers: int) -> None:
        """Close the sockets of these brokers, or of all, and refuse new ones."""
        for broker in brokers or self._brokers:
            self._must(self._lib.rd_kafka_mock_broker_set_down(self._cluster, broker))

    def up(self, *brokers: int) -> None:
        for broker in brokers or self._brokers:
            self._must(self._lib.rd_kafka_mock_broker_set_up(self._cluster, broker))

    def round_trip(self, milliseconds: int, *brokers: int) -> None:
        """How long every answer of these brokers, or of all, takes from now on."""
        for broker in brokers or self._brokers:
            self._must(self._lib.rd_kafka_mock_broker_set_rtt(self._cluster, broker, milliseconds))

    def leader(self, topic: str, partition: int, broker: int) -> None:
        """Move the leader; -1 = nobody leads."""
        self._must(
            self._lib.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, broker)
        )

    def track_requests(self) -> None:
        self._lib.rd_kafka_mock_start_request_tracking(self._cluster)

    def requests(self) -> list[int]:
        """The kinds of the requests that arrived since tracking began, in order."""
        count = ctypes.c_size_t()
        array = self._lib.rd_kafka_mock_get_requests(self._cluster, ctypes.byref(count))
        kinds = [int(self._lib.rd_kafka_mock_request_api_key(array[i])) for i in range(count.value)]
        self._lib.rd_kafka_mock_request_destroy_array(array, count.value)
        return kinds

    def close(self) -> None:
        self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
        self._lib.rd_kafka_destroy(self._client)

    def _must(self, error: int) -> None:
        if error:
            raise RuntimeError(f"the wire bench refused: {self._lib.rd_kafka_err2str(error).decode()}")


@contextmanager
def wire_cluster(brokers: int = 1) -> Iterator[WireCluster]:
    cluster = WireCluster(brokers)
    try:
        yield cluster
    finally:
        cluster.close()


_P, _I, _S, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int64

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_conf_new": (_P, []),
    "rd_kafka_conf_set": (_I, [_P, _S, _S, _S, ctypes.c_size_t]),
    "rd_kafka_new": (_P, [_I, _P, _S, ctypes.c_size_t]),
    "rd_kafka_destroy": (None, [_P]),
    "rd_kafka_err2str": (_S, [_I]),
    "rd_kafka_mock_cluster_new": (_P, [_P, _I]),
    "rd_kafka_mock_cluster_destroy": (None, [_P]),
    "rd_kafka_mock_cluster_bootstraps": (_S, [_P]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [_P, ctypes.c_int32]),
    "rd_kafka_mock_topic_create": (_I, [_P, _S, _I, _I]),
    "rd_kafka_mock_partition_delete_records": (_I, [_P, _S, ctypes.c_int32, _L]),
    "rd_kafka_mock_push_request_errors_array": (
        None,
        [_P, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(_I)],
    ),
    "rd_kafka_mock_clear_request_errors": (None, [_P, ctypes.c_int16]),
    "rd_kafka_mock_broker_set_down": (_I, [_P, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_up": (_I, [_P, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_rtt": (_I, [_P, ctypes.c_int32, _I]),
    "rd_kafka_mock_partition_set_leader": (_I, [_P, _S, ctypes.c_int32, ctypes.c_int32]),
    "rd_kafka_mock_start_request_tracking": (None, [_P]),
    "rd_kafka_mock_get_requests": (ctypes.POINTER(_P), [_P, ctypes.POINTER(ctypes.c_size_t)]),
    "rd_kafka_mock_request_api_key": (ctypes.c_int16, [_P]),
    "rd_kafka_mock_request_destroy_array": (None, [ctypes.POINTER(_P), ctypes.c_size_t]),
}


def _library() -> Any:
    """The shared library of the wheel; loading it by its path finds the one already loaded."""
    wheel = importlib.util.find_spec("confluent_kafka")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("the wire bench needs confluent-kafka: pip install confluent-kafka")
    # Importing the package first loads what the library itself depends on.
    importlib.import_module("confluent_kafka")
    libraries = Path(wheel.origin).parent.parent / "confluent_kafka.libs"
    lib = ctypes.CDLL(str(next(libraries.glob("librdkafka*.so*"))))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
