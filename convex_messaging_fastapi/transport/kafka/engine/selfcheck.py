"""Refuses, at import, a version of aiokafka that lacks the private attributes these rooms rely on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import aiokafka
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator, ScramAuthenticator
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import BaseCoordinator, GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState, TopicPartitionState
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.producer import AIOKafkaProducer
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.metadata import MetadataRequest

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.transport.kafka.engine.unpacking import unbounded

_SET_BY_CONSTRUCTOR: dict[type, tuple[str, ...]] = {
    AIOKafkaClient: (
        "_conns",
        "_md_update_fut",
        "_request_timeout_ms",
        "_retry_backoff",
        "_sync_task",
        "cluster",
    ),
    AIOKafkaConnection: (
        "_last_action",
        "_request_timeout",
        "_requests",
        "_sasl_oauth_token_provider",
        "_sasl_plain_password",
        "_security_protocol",
        "_ssl_context",
    ),
    AIOKafkaConsumer: ("_client", "_coordinator", "_fetcher", "_subscription"),
    BaseCoordinator: ("_client",),
    BatchBuilder: ("_builder", "_relative_offset"),
    AIOKafkaProducer: ("client", "_message_accumulator", "_sender", "_txn_manager"),
    FetchResult: ("_partition_records",),
    Fetcher: ("_fetch_task", "_pending_tasks", "_records"),
    GroupCoordinator: (
        "_coordination_task",
        "_commit_refresh_task",
        "_group_instance_id",
        "_heartbeat_task",
        "coordinator_id",
        "generation",
        "group_id",
        "member_id",
    ),
    MessageAccumulator: ("_batches", "_closed", "_cluster", "_exception", "_pending_batches"),
    MessageBatch: ("_builder", "_drain_waiter", "future"),
    MetadataRequest: ("_allow_auto_topic_creation", "_topics"),
    TopicPartitionState: ("lso", "timestamp"),
    TransactionManager: ("_sequence_numbers",),
}

_PARAMETERS: dict[Callable[..., Any], tuple[str, ...]] = {
    AIOKafkaClient._get_conn: ("self", "node_id", "group", "no_hint"),
    AIOKafkaClient._on_connection_closed: ("self", "conn", "reason"),
    AIOKafkaClient._metadata_update: ("self", "cluster_metadata", "topics"),
    AIOKafkaClient.coordinator_lookup: ("self", "coordinator_type", "coordinator_key"),
    AIOKafkaClient.send: ("self", "node_id", "request", "group"),
    ClusterMetadata.update_metadata: ("self", "metadata"),
    AIOKafkaConnection.send: ("self", "request", "expect_response"),
    Fetcher._create_fetch_waiter: ("self",),
    GroupCoordinator._maybe_leave_group: ("self",),
    GroupCoordinator._send_req: ("self", "request"),
    GroupCoordinator.check_errors: ("self",),
    GroupCoordinator.coordinator_dead: ("self",),
    GroupCoordinator.ensure_coordinator_known: ("self",),
    GroupCoordinator.request_rejoin: ("self",),
    GroupCoordinator.reset_generation: ("self",),
    AIOKafkaConnection._do_sasl_handshake: ("self",),
    AIOKafkaConnection.authenticator_oauth: ("self",),
    AIOKafkaConnection.authenticator_scram: ("self",),
    ScramAuthenticator.create_salted_password: ("self", "salt", "iterations"),
    ScramAuthenticator.process_server_final_message: ("self", "server_final"),
    OAuthAuthenticator.step: ("self", "payload"),
    PartitionRecords._contains_abort_marker: ("self", "next_batch"),
    PartitionRecords._consumer_record: ("self", "tp", "record"),
    BatchBuilder._build: ("self",),
    BatchBuilder._set_producer_state: ("self", "producer_id", "producer_epoch", "base_sequence"),
    MessageAccumulator._append_batch: ("self", "builder", "tp"),
    MessageAccumulator.drain_by_nodes: ("self", "ignore_nodes", "muted_partitions"),
    MessageAccumulator.fail_all: ("self", "exception"),
    SubscriptionState.fetch_context: ("self",),
    TransactionManager.sequence_number: ("self", "tp"),
}

_PROPERTIES: dict[type, tuple[str, ...]] = {
    Sender: ("sender_task",),
    SubscriptionState: ("reassignment_in_progress", "subscription"),
    TopicPartitionState: ("has_valid_position", "position"),
}

_LOCALS: dict[Callable[..., Any], tuple[str, ...]] = {
    AIOKafkaClient.bootstrap: ("bootstrap_conn",),
    PartitionRecords._unpack_records: ("next_batch",),
}


def check_engine() -> None:
    """Raise `ConfigurationError` that names what is missing."""
    if lacking := sorted(_lacking()):
        raise ConfigurationError(
            f"aiokafka {aiokafka.__version__} is not an engine that this version of "
            f"convex-messaging-fastapi knows: it lacks {', '.join(lacking)}. "
            "Install aiokafka>=0.14,<0.15."
        )


def _lacking() -> list[str]:
    return [
        *(
            f"{owner.__name__}.{name}"
            for owner, names in _SET_BY_CONSTRUCTOR.items()
            for name in names
            if name not in owner.__init__.__code__.co_names  # type: ignore[misc]
        ),
        *(
            f"{owner.__name__}.{name}"
            for owner, names in _PROPERTIES.items()
            for name in names
            if not isinstance(inspect.getattr_static(owner, name, None), property)
        ),
        *(
            f"{function.__qualname__}{expected}"
            for function, expected in _PARAMETERS.items()
            if tuple(inspect.signature(function).parameters) != expected
        ),
        *(
            f"{function.__qualname__}: {name}"
            for function, names in _LOCALS.items()
            for name in names
            if name not in function.__code__.co_varnames
        ),
        *(f"a place to bound its {codec}" for codec in unbounded()),
    ]
