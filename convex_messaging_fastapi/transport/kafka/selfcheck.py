"""Refuses a version of aiokafka that lacks what these rooms rely on, before any of them is loaded.

Everything is named as text, and looked for when asked: what is gone must not end this file's own import.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any

from convex_messaging_fastapi.errors import ConfigurationError

_TAKEN: Mapping[str, str] = {
    "aiokafka": "AIOKafkaConsumer AIOKafkaProducer ConsumerRebalanceListener TopicPartition",
    "aiokafka.abc": "AbstractTokenProvider",
    "aiokafka.client": (
        "AIOKafkaClient ConnectionGroup.COORDINATION ConnectionGroup.DEFAULT CoordinationType.GROUP "
        "CoordinationType.TRANSACTION collect_hosts create_conn"
    ),
    "aiokafka.cluster": "ClusterMetadata",
    "aiokafka.codec": "gzip_decode has_lz4 has_snappy has_zstd lz4_decode snappy_decode zstd_decode",
    "aiokafka.conn": (
        "AIOKafkaConnection CloseReason.AUTH_FAILURE CloseReason.CONNECTION_BROKEN OAuthAuthenticator "
        "ScramAuthenticator collect_hosts"
    ),
    "aiokafka.consumer.fetcher": "PartitionRecords",
    "aiokafka.consumer.group_coordinator": "GroupCoordinator",
    "aiokafka.coordinator.assignors.roundrobin": "RoundRobinPartitionAssignor",
    "aiokafka.coordinator.protocol": "ConsumerProtocolMemberMetadata",
    "aiokafka.errors": """
        AuthenticationFailedError BrokerNotAvailableError BrokerResponseError
        ClusterAuthorizationFailedError ConcurrentTransactions CorruptRecordException
        GroupAuthorizationFailedError GroupCoordinatorNotAvailableError GroupLoadInProgressError
        IllegalGenerationError IllegalSaslStateError IncompatibleBrokerVersion
        InconsistentGroupProtocolError InvalidCommitOffsetSizeError InvalidGroupIdError InvalidProducerEpoch
        InvalidRequestError InvalidRequiredAcksError InvalidSessionTimeoutError InvalidTimestampError
        InvalidTopicError InvalidTransactionTimeout KafkaConnectionError KafkaError KafkaTimeoutError
        LeaderNotAvailableError MessageSizeTooLargeError NoError NodeNotReadyError
        NotCoordinatorForGroupError NotEnoughReplicasAfterAppendError NotEnoughReplicasError
        OffsetMetadataTooLargeError OffsetOutOfRangeError OperationNotAttempted PolicyViolationError
        ProducerClosed RebalanceInProgressError RecordListTooLargeError ReplicaNotAvailableError
        RequestTimedOutError SaslAuthenticationFailed StaleLeaderEpochCodeError TopicAlreadyExistsError
        TopicAuthorizationFailedError TransactionalIdAuthorizationFailed UnknownError UnknownMemberIdError
        UnknownTopicOrPartitionError UnsupportedForMessageFormatError UnsupportedSaslMechanismError
        UnsupportedVersionError for_code kafka_errors
    """,
    "aiokafka.producer.message_accumulator": "BatchBuilder MessageAccumulator",
    "aiokafka.protocol.abstract": "AbstractType",
    "aiokafka.protocol.admin": (
        "ApiVersionRequest CreateTopicsRequest DescribeConfigsRequest "
        "DescribeGroupsRequest_v0 DescribeGroupsRequest_v1 DescribeGroupsRequest_v2 DescribeGroupsRequest_v3 "
        "DescribeGroupsResponse_v3 ListGroupsRequest SaslHandShakeRequest"
    ),
    "aiokafka.protocol.api": "Request RequestStruct",
    "aiokafka.protocol.commit": "OffsetCommitRequest OffsetFetchRequest",
    "aiokafka.protocol.fetch": "FetchRequest",
    "aiokafka.protocol.group": "HeartbeatRequest JoinGroupRequest LeaveGroupRequest SyncGroupRequest",
    "aiokafka.protocol.metadata": "MetadataRequest MetadataRequestStruct MetadataResponse_v5",
    "aiokafka.protocol.produce": "ProduceRequest",
    "aiokafka.protocol.transaction": "AddPartitionsToTxnRequest EndTxnRequest InitProducerIdRequest",
    "aiokafka.protocol.types": "Boolean CompactArray CompactString Int16 Int32 Schema TaggedFields",
    "aiokafka.record.control_record": "ABORT_MARKER ControlRecord",
    "aiokafka.record.default_records": "DefaultRecordBatch DefaultRecordBatchBuilder",
    "aiokafka.record.util": "calc_crc32c size_of_varint",
    "aiokafka.structs": "RecordMetadata",
}
"""What these rooms import: by its module, as in their own imports, so that a test can compare the two."""

_SET_BY_CONSTRUCTOR: Mapping[str, str] = {
    "aiokafka.client:AIOKafkaClient": (
        "_conns _md_update_fut _request_timeout_ms _retry_backoff _sync_task cluster"
    ),
    "aiokafka.conn:AIOKafkaConnection": (
        "_last_action _request_timeout _requests _sasl_oauth_token_provider _sasl_plain_password "
        "_security_protocol _ssl_context _versions"
    ),
    "aiokafka:AIOKafkaConsumer": "_client _coordinator _fetcher _subscription",
    "aiokafka:AIOKafkaProducer": "client _message_accumulator _sender _txn_manager",
    "aiokafka.consumer.fetcher:FetchResult": "_partition_records",
    "aiokafka.consumer.fetcher:Fetcher": "_fetch_task _pending_tasks _records",
    "aiokafka.consumer.group_coordinator:BaseCoordinator": "_client",
    "aiokafka.consumer.group_coordinator:GroupCoordinator": (
        "_coordination_task _commit_refresh_task _group_instance_id _heartbeat_task coordinator_id "
        "generation group_id member_id"
    ),
    "aiokafka.consumer.subscription_state:TopicPartitionState": "lso timestamp",
    "aiokafka.producer.message_accumulator:BatchBuilder": "_builder _relative_offset",
    "aiokafka.producer.message_accumulator:MessageAccumulator": (
        "_batches _closed _cluster _exception _pending_batches"
    ),
    "aiokafka.producer.message_accumulator:MessageBatch": "_builder _drain_waiter future",
    "aiokafka.producer.transaction_manager:TransactionManager": "_sequence_numbers",
    "aiokafka.protocol.metadata:MetadataRequest": "_allow_auto_topic_creation _topics",
}

_PARAMETERS: Mapping[str, str] = {
    "aiokafka.client:AIOKafkaClient._get_conn": "self node_id group no_hint",
    "aiokafka.client:AIOKafkaClient._metadata_update": "self cluster_metadata topics",
    "aiokafka.client:AIOKafkaClient._on_connection_closed": "self conn reason",
    "aiokafka.client:AIOKafkaClient.coordinator_lookup": "self coordinator_type coordinator_key",
    "aiokafka.client:AIOKafkaClient.ready": "self node_id group",
    "aiokafka.client:AIOKafkaClient.send": "self node_id request group",
    "aiokafka.cluster:ClusterMetadata.update_metadata": "self metadata",
    "aiokafka.conn:AIOKafkaConnection._do_sasl_handshake": "self",
    "aiokafka.conn:AIOKafkaConnection._handle_frame": "self resp",
    "aiokafka.conn:AIOKafkaConnection.authenticator_oauth": "self",
    "aiokafka.conn:AIOKafkaConnection.authenticator_scram": "self",
    "aiokafka.conn:AIOKafkaConnection.send": "self request expect_response",
    "aiokafka.conn:OAuthAuthenticator.step": "self payload",
    "aiokafka.conn:ScramAuthenticator.create_salted_password": "self salt iterations",
    "aiokafka.conn:ScramAuthenticator.process_server_final_message": "self server_final",
    "aiokafka.consumer.fetcher:Fetcher._create_fetch_waiter": "self",
    "aiokafka.consumer.fetcher:PartitionRecords._consumer_record": "self tp record",
    "aiokafka.consumer.fetcher:PartitionRecords._contains_abort_marker": "self next_batch",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._maybe_leave_group": "self",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req": "self request",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.check_errors": "self",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.coordinator_dead": "self",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.ensure_coordinator_known": "self",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.request_rejoin": "self",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.reset_generation": "self",
    "aiokafka.consumer.subscription_state:SubscriptionState.fetch_context": "self",
    "aiokafka.errors:for_code": "error_code",
    "aiokafka.producer.message_accumulator:BatchBuilder._build": "self",
    "aiokafka.producer.message_accumulator:BatchBuilder._set_producer_state": (
        "self producer_id producer_epoch base_sequence"
    ),
    "aiokafka.producer.message_accumulator:MessageAccumulator._append_batch": "self builder tp",
    "aiokafka.producer.message_accumulator:MessageAccumulator.drain_by_nodes": (
        "self ignore_nodes muted_partitions"
    ),
    "aiokafka.producer.message_accumulator:MessageAccumulator.fail_all": "self exception",
    "aiokafka.producer.transaction_manager:TransactionManager.sequence_number": "self tp",
}

_PROPERTIES: Mapping[str, str] = {
    "aiokafka.consumer.subscription_state:SubscriptionState": "reassignment_in_progress subscription",
    "aiokafka.consumer.subscription_state:TopicPartitionState": "has_valid_position position",
    "aiokafka.producer.sender:Sender": "sender_task",
}

_LOCALS: Mapping[str, str] = {
    "aiokafka.client:AIOKafkaClient.bootstrap": "bootstrap_conn",
    "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": "next_batch",
}

_CALLS: Mapping[str, tuple[int, str]] = {
    "aiokafka.conn:AIOKafkaConnection.close": (1, "reason exc"),
    "aiokafka.conn:OAuthAuthenticator": (0, "sasl_oauth_token_provider"),
    "aiokafka.conn:ScramAuthenticator": (
        0,
        "loop sasl_plain_password sasl_plain_username sasl_mechanism",
    ),
    "aiokafka.conn:collect_hosts": (1, "randomize"),
    "aiokafka.consumer.subscription_state:Assignment.state_value": (2, ""),
    "aiokafka.producer.message_accumulator:BatchBuilder": (2, ""),
    "aiokafka.protocol.admin:CreateTopicsRequest": (3, ""),
    "aiokafka.protocol.admin:DescribeConfigsRequest": (1, ""),
    "aiokafka.protocol.admin:SaslHandShakeRequest": (1, ""),
    "aiokafka.protocol.commit:OffsetCommitRequest": (5, ""),
    "aiokafka.protocol.commit:OffsetFetchRequest": (2, ""),
    "aiokafka.protocol.group:LeaveGroupRequest": (2, ""),
    "aiokafka.protocol.metadata:MetadataRequest": (1, "allow_auto_topic_creation"),
    "aiokafka.protocol.transaction:InitProducerIdRequest": (2, ""),
}
"""What is called with so many arguments by position, and with these by name; `self` counts."""


class _Gone(Exception):
    """Its text is the name of what is not there: the outermost, for whatever was inside has gone with it."""


def check_engine() -> None:
    """Raise `ConfigurationError` that names everything that is missing."""
    if lacking := set(_lacking()):
        raise refusal(lacking)


def refusal(lacking: Collection[str]) -> ConfigurationError:
    """Why the installed aiokafka is not used."""
    return ConfigurationError(
        f"aiokafka {version('aiokafka')} is not an engine that this version of convex-messaging-fastapi "
        f"knows: it lacks {', '.join(sorted(lacking))}. Install aiokafka>=0.14,<0.15."
    )


def _lacking() -> Iterator[str]:
    for module, names in _TAKEN.items():
        for name in names.split():
            yield from _missing(f"{module}:{name}", lambda found: ())
    for owner, names in _SET_BY_CONSTRUCTOR.items():
        yield from _missing(owner, partial(_not_set, names.split()))
    for owner, names in _PROPERTIES.items():
        yield from _missing(owner, partial(_no_properties, names.split()))
    for function, names in _PARAMETERS.items():
        yield from _missing(function, partial(_other_parameters, tuple(names.split())))
    for function, names in _LOCALS.items():
        yield from _missing(function, partial(_no_locals, names.split()))
    for function, (count, names) in _CALLS.items():
        yield from _missing(function, partial(_not_callable, count, names.split()))


def _missing(path: str, look: Callable[[Any], Iterable[str]]) -> Iterator[str]:
    """What `look` misses of the thing at `path`, each behind its name; or that this is not there itself."""
    try:
        yield from (f"{path.partition(':')[2]}{missed}" for missed in look(_found(path)))
    except _Gone as gone:
        yield str(gone)


def _found(path: str) -> Any:
    module, _, names = path.partition(":")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "aiokafka":
            raise  # something that the engine itself needs
        raise _Gone(module) from None
    owner = module
    for name in names.split("."):
        if not hasattr(found, name):
            raise _Gone(f"{owner}.{name}")
        owner = name if owner == module else f"{owner}.{name}"
        found = getattr(found, name)
    return found


def _not_set(names: Iterable[str], owner: Any) -> list[str]:
    code = getattr(owner.__init__, "__code__", None)
    return [f".{name}" for name in names if code is None or name not in code.co_names]


def _no_properties(names: Iterable[str], owner: Any) -> list[str]:
    return [
        f".{name}" for name in names if not isinstance(inspect.getattr_static(owner, name, None), property)
    ]


def _other_parameters(names: tuple[str, ...], function: Any) -> list[str]:
    return [] if tuple(inspect.signature(function).parameters) == names else [str(names)]


def _no_locals(names: Iterable[str], function: Any) -> list[str]:
    return [f": {name}" for name in names if name not in function.__code__.co_varnames]


def _not_callable(count: int, names: Iterable[str], function: Any) -> list[str]:
    try:
        inspect.signature(function).bind(*[None] * count, **dict.fromkeys(names))
    except TypeError:
        return [f"({', '.join([*['_'] * count, *(f'{name}=' for name in names)])})"]
    return []
