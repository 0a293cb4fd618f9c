"""Metadata with the ids of topics, which tell a topic from a later one of the same name.

The engine's own metadata requests are older than these ids (KIP-516, Kafka 2.8). To older brokers they stay
as they are, and no id is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from types import MappingProxyType
from typing import Any, NamedTuple

from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError, NoError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequestStruct, MetadataResponse_v5
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from convex_messaging_fastapi.transport.kafka.engine.codes import for_code

METADATA = 3
WITH_IDS = 10
_ID_BYTES = 16
NO_ID = bytes(_ID_BYTES)
"""Stands for no id: in answers of brokers that know none, and in questions by name."""


class _Id(AbstractType):  # type: ignore[misc]
    """A UUID as its bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        value = data.read(_ID_BYTES)
        if len(value) != _ID_BYTES:
            raise ValueError("Buffer underrun decoding a UUID")
        return value


_TEXT = CompactString("utf-8")
_NUMBERS = CompactArray(Int32)

_ANSWER = Schema(
    ("throttle_time_ms", Int32),
    (
        "brokers",
        CompactArray(
            ("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields)
        ),
    ),
    ("cluster_id", _TEXT),
    ("controller_id", Int32),
    (
        "topics",
        CompactArray(
            ("error_code", Int16),
            ("topic", _TEXT),
            ("topic_id", _Id),
            ("is_internal", Boolean),
            (
                "partitions",
                CompactArray(
                    ("error_code", Int16),
                    ("partition", Int32),
                    ("leader", Int32),
                    ("leader_epoch", Int32),
                    ("replicas", _NUMBERS),
                    ("isr", _NUMBERS),
                    ("offline_replicas", _NUMBERS),
                    ("tags", TaggedFields),
                ),
            ),
            ("authorized_operations", Int32),
            ("tags", TaggedFields),
        ),
    ),
    ("authorized_operations", Int32),
    ("tags", TaggedFields),
)


class _Answer(MetadataResponse_v5):  # type: ignore[misc]
    """The answer in the form that the engine reads; beside it the ids of topics, and rights where asked for.

    Rights are a number, of which each bit is an operation that the credentials may do.
    """

    API_VERSION = WITH_IDS
    ids: Mapping[str, bytes]
    rights: Mapping[str, int]
    rights_on_cluster: int

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> _Answer:
        source = BytesIO(data) if isinstance(data, bytes) else data
        throttled, brokers, cluster, controller, topics, on_cluster, _ = _ANSWER.decode(source)
        known = [(code, name, internal, _known(parts)) for code, name, _, internal, parts, *_ in topics]
        answer = cls(throttled, [broker[:-1] for broker in brokers], cluster, controller, known)
        answer.ids = {name: id for _, name, id, *_ in topics if id != NO_ID}
        answer.rights = {name: bits for _, name, *_, bits, _ in topics}
        answer.rights_on_cluster = on_cluster
        return answer


def _known(partitions: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The partitions in the form that the engine reads, without the leaders' epochs."""
    return [(code, number, leader, *replicas) for code, number, leader, _, *replicas, _ in partitions]


class _Question(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = METADATA
    API_VERSION = WITH_IDS
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Id), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class IdentifyingRequest(Request[MetadataRequestStruct | _Question]):  # type: ignore[misc]
    """A metadata request of the engine that asks for ids too, and never creates a topic.

    The engine's own requests let brokers create missing topics, and have no switch: a typo in the topic of a
    subscriber would create that topic.
    """

    API_KEY = METADATA

    def __init__(self, asked: MetadataRequest, *, rights: bool = False) -> None:
        self._asked, self._rights = asked, rights
        asked._allow_auto_topic_creation = False

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is not _Question:
            return self._asked.build(request_struct_class)
        topics = self._asked._topics
        if topics is not None:
            topics = [(NO_ID, topic, {}) for topic in topics]
        return _Question(topics, False, self._rights, self._rights, {})


class TopicId(NamedTuple):
    """Tells a topic from a later one of the same name. In a mirrored cluster the topic has another id."""

    cluster: str
    id: bytes

    def is_not(self, other: TopicId | None) -> bool:
        """Whether one of the two has replaced the other; false if that is not known."""
        return other is not None and self.cluster == other.cluster and self.id != other.id


class KnownTopicIds:
    """The id of the topic that each name stands for now.

    A new id is believed after two answers in a row, because one broker may be behind. From then on the old id
    is gone for ever, even if a broker still tells it.
    """

    def __init__(self) -> None:
        self._now: dict[str, TopicId] = {}
        self._rumours: dict[str, TopicId] = {}
        self._gone: set[TopicId] = set()

    def hear(self, cluster: str, ids: Mapping[str, bytes]) -> None:
        """Take in the answer of one broker."""
        for topic, id in ids.items():
            heard = TopicId(cluster, id)
            if heard not in self._gone:
                self._weigh(topic, heard)

    def _weigh(self, topic: str, heard: TopicId) -> None:
        before, rumour = self._now.get(topic), self._rumours.pop(topic, None)
        if before is None or not before.is_not(heard):
            self._now[topic] = heard
        elif heard == rumour:
            self._gone.add(before)
            self._now[topic] = heard
        else:
            self._rumours[topic] = heard

    @property
    def unsure(self) -> bool:
        """Whether another answer is needed to believe a new id."""
        return bool(self._rumours)

    def was_replaced(self, topic: TopicId) -> bool:
        return topic in self._gone

    def of(self, topic: str) -> TopicId | None:
        """The id of the topic now; `None` if no broker has told it yet."""
        return self._now.get(topic)


class Cluster(ClusterMetadata):  # type: ignore[misc]
    """The engine's picture of a cluster, with the ids of topics."""

    topic_ids: KnownTopicIds
    refused: Mapping[str, type[KafkaError]] = MappingProxyType({})
    """The errors of topics in the last answer."""
    optional: frozenset[str] = frozenset()
    """Topics whose errors are hidden from the engine, which would complain of them at each answer."""

    @classmethod
    def adopt(cls, cluster: ClusterMetadata) -> None:
        cluster.__class__ = cls
        cluster.topic_ids = KnownTopicIds()

    def update_metadata(self, metadata: Any) -> None:
        if self.optional:
            metadata.topics = [told for told in metadata.topics if self._is_heard(*told[:2])]
        super().update_metadata(metadata)
        codes = {topic: code for code, topic, *_ in metadata.topics}
        self.refused = {topic: for_code(code) for topic, code in codes.items() if code != NoError.errno}
        if isinstance(metadata, _Answer) and metadata.cluster_id:
            self.topic_ids.hear(metadata.cluster_id, metadata.ids)

    def _is_heard(self, code: int, topic: str) -> bool:
        return code == NoError.errno or topic not in self.optional
