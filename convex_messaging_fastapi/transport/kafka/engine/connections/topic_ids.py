"""Metadata that tells a topic from a later one of the same name, which has another id.

The engine's own questions are older than these ids: KIP-516, Kafka 2.8. To older brokers they stay as
they are, and no id is known.
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
"""What a broker says that has none to tell, and what is asked of one that is asked by name."""


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
    """What the engine reads in an answer, and the ids of topics beside it."""

    API_VERSION = WITH_IDS
    ids: Mapping[str, bytes]

    @classmethod
    def decode(cls, data: BytesIO | bytes) -> _Answer:
        source = BytesIO(data) if isinstance(data, bytes) else data
        throttled, brokers, cluster, controller, topics, *_ = _ANSWER.decode(source)
        known = [(code, name, internal, _known(parts)) for code, name, _, internal, parts, *_ in topics]
        answer = cls(throttled, [broker[:-1] for broker in brokers], cluster, controller, known)
        answer.ids = {name: id for _, name, id, *_ in topics if id != NO_ID}
        return answer


def _known(partitions: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Without the epochs of leaders."""
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
    """A question of the engine that asks for ids too, and never makes a topic.

    Every such question of the engine asks for missing topics to be created, and there is no switch:
    a subscriber with a typo in a topic's name would make that topic.
    """

    API_KEY = METADATA

    def __init__(self, asked: MetadataRequest) -> None:
        self._asked = asked
        asked._allow_auto_topic_creation = False

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is not _Question:
            return self._asked.build(request_struct_class)
        topics = self._asked._topics
        if topics is not None:
            topics = [(NO_ID, topic, {}) for topic in topics]
        return _Question(topics, False, False, False, {})


class TopicId(NamedTuple):
    """What tells a topic from a later one of the same name. A mirror has the same topic under another id."""

    cluster: str
    id: bytes

    def is_not(self, other: TopicId | None) -> bool:
        """Whether one of the two has taken the place of the other; false where that is not known."""
        return other is not None and self.cluster == other.cluster and self.id != other.id


class KnownTopicIds:
    """Which topic a name stands for now.

    That it is another one is believed when two answers in a row say so: one broker may be behind. The
    one before is gone for ever then, whoever still tells of it.
    """

    def __init__(self) -> None:
        self._now: dict[str, TopicId] = {}
        self._rumours: dict[str, TopicId] = {}
        self._gone: set[TopicId] = set()

    def hear(self, cluster: str, ids: Mapping[str, bytes]) -> None:
        """What one broker says."""
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
        """Whether another answer would tell more."""
        return bool(self._rumours)

    def was_replaced(self, topic: TopicId) -> bool:
        return topic in self._gone

    def of(self, topic: str) -> TopicId | None:
        """`None` where no broker has told yet."""
        return self._now.get(topic)


class Cluster(ClusterMetadata):  # type: ignore[misc]
    """The engine's picture of a cluster, with the ids of topics."""

    topic_ids: KnownTopicIds
    refused: Mapping[str, type[KafkaError]] = MappingProxyType({})
    """What the last answer said of topics instead of where they are."""
    optional: frozenset[str] = frozenset()
    """Topics of which nothing is heard until they are there: the engine complains of each answer else."""

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
