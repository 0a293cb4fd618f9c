"""Every setting with its default and its effect, and what follows from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import ClassVar

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from convex_messaging_fastapi.policies import MAX_BREAKER_WAIT_SECONDS, MAX_DELAY_SECONDS, Breaker, Retry
from convex_messaging_fastapi.settings.field_types import (
    MEMORY,
    AutoOffsetReset,
    InstanceId,
    PartitionerName,
    QueueGroup,
    SaslMechanism,
    SecurityProtocol,
    Servers,
    TopicNames,
    TopicPrefix,
    Unreadable,
    queue_group,
)

PREFIX = "KAFKA_"

SECRET_FILES = {"sasl_password": "sasl_password_file", "ssl_key_password": "ssl_key_password_file"}
"""Each secret, and the setting that names a file with it."""

TokenProvider = Callable[[], Awaitable[str]]

HEARTBEAT_INTERVAL_MS = 1000
"""A member learns of a rebalance from the answer to a heartbeat, so at most this much later."""

_REBALANCE_MARGIN_MS = 10_000
_REQUEST_MARGIN_MS = 5_000


class SettingsFields(BaseSettings):
    """Every setting; `MessagingSettings` adds where the values come from."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        frozen=True,
        extra="forbid",
        str_strip_whitespace=True,
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
    )

    bootstrap_servers: Servers = Field(
        default="localhost:9092",
        description="`host:port`, several with commas between; `memory://` is an in-process broker private "
        "to the bus, `memory://name` one shared in the process",
    )
    security_protocol: SecurityProtocol = Field(
        default="PLAINTEXT", description="`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`"
    )
    sasl_mechanism: SaslMechanism = Field(
        default="PLAIN",
        description="`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`; judged, like all of SASL, "
        "only for the protocols that use it",
    )
    sasl_username: str | None = Field(default=None, description="the user of PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(
        default=None, description="the user's password; never shown, logged or repeated"
    )
    ssl_ca_location: str | None = Field(
        default=None, description="a PEM file of authorities to trust; without it, those of the machine"
    )
    topic_prefix: TopicPrefix = Field(
        default="convex",
        description='put before every topic with a dot between; none with `topic_prefix=""`, in code only',
    )
    consumer_group: str = Field(
        default="convex-group",
        description="the service's identity: the Kafka group of its subscribers, exactly as given. Give "
        "every service its own",
    )
    auto_offset_reset: AutoOffsetReset = Field(
        default="earliest",
        description="where a group without committed offsets begins: `earliest` or `latest`",
    )
    enable_auto_commit: bool = Field(
        default=True,
        description="true: finished work is committed at the interval, or once half of `max_uncommitted` is "
        "finished; false: as soon as it is finished. Never unfinished work",
    )
    auto_commit_interval_ms: int = Field(
        default=5000, ge=1, description="milliseconds between commits of finished work"
    )
    session_timeout_ms: int = Field(
        default=30_000,
        ge=6000,
        le=1_800_000,
        description="milliseconds without a heartbeat after which a member loses its partitions, and lets go "
        "of them; choose more than brokers take to replace a coordinator. Heartbeats go out every second",
    )
    request_timeout_ms: int = Field(
        default=30_000,
        ge=1000,
        le=2_147_483_647,
        description="milliseconds a broker has to answer; consumers wait at least 15 seconds longer than "
        "`revoke_drain_seconds`, because a join is answered when the rebalance ends",
    )
    max_retry_attempts: int = Field(
        default=3, ge=1, description="tries in all, the first included, before a message is buried"
    )
    retry_delay_seconds: float = Field(
        default=5.0,
        ge=0,
        le=MAX_DELAY_SECONDS,
        description="seconds before the second try; doubles with every further one, jittered, at most "
        f"{MAX_DELAY_SECONDS:g}",
    )
    message_retention_ms: int = Field(
        default=604_800_000,
        ge=-1,
        description="milliseconds that topics which we create keep a message; -1 for ever",
    )

    group_instance_id: InstanceId | None = Field(
        default=None,
        description="static membership: a process that comes back within the session causes no rebalance. "
        "Unique for every machine or pod; of several processes on one, the second gets the suffix -1, "
        "and so on",
    )
    client_id: str = Field(
        default_factory=lambda known: known.get("consumer_group", ""),
        description="the name of this process in the brokers' logs and quotas; by default `consumer_group`",
    )
    partitioner: PartitionerName = Field(
        default="murmur2",
        description="which partition a key belongs to: `murmur2` as Java does, `crc32` as Confluent's .NET "
        "client does",
    )
    queue_group: QueueGroup = Field(
        default="{prefix}.{queue}",
        description="the group that a queue's receivers share; to compete with .NET receivers, name theirs",
    )
    concurrency: int = Field(default=32, ge=1, description="messages that one subscription handles at once")
    max_uncommitted: int = Field(
        default=10_000,
        ge=1,
        description="records of a partition handed out past its committed offset, which a crash may repeat",
    )
    publish_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds that `publish` waits for the acknowledgement",
    )
    drain_timeout_seconds: float = Field(
        default=20.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds that running handlers get when the bus stops",
    )
    revoke_drain_seconds: float = Field(
        default=5.0,
        ge=0,
        le=1800,
        description="seconds that running handlers get when partitions move; the group waits for them",
    )
    shutdown_timeout_seconds: float = Field(
        default=25.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds that stopping takes at most, drain included",
    )
    max_buffer_records: int = Field(default=10_000, ge=1, description="records that a worker holds in memory")
    max_buffer_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=65_536,
        description="bytes of keys, values and headers that a worker holds in memory",
    )
    max_message_bytes: int = Field(
        default=10 * 1024 * 1024,
        ge=1024,
        le=1024 * 1024 * 1024,
        description="bytes of the largest message that is published, or decoded for a handler; a larger one "
        "is buried undecoded",
    )
    max_message_items: int = Field(
        default=100_000,
        ge=1,
        description="members of objects and arrays in a message that is decoded for a handler; one with more "
        "is buried undecoded",
    )
    max_pending_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=65_536,
        description="bytes of messages that may wait to be acknowledged; beyond it `publish` raises "
        "`PublishFailed` at once",
    )
    error_texts: bool = Field(
        default=True,
        description="false: logs and dead letters tell the type and the place of an exception, and no text "
        "of it",
    )
    unreadable: Unreadable = Field(
        default="hold",
        description="what becomes of a batch that cannot be read: `hold`, its partition waits; `bury`, after "
        "three tries in a minute a letter that points to it is written, and reading goes on behind it",
    )
    breaker: bool = Field(
        default=False,
        description="whether a subscriber that says nothing of it has a breaker, which keeps its messages "
        "while nothing succeeds",
    )
    breaker_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="the share of the latest messages that must have failed to open it",
    )
    breaker_of: int = Field(
        default=20, ge=3, le=1000, description="how many of the latest messages it looks at"
    )
    breaker_wait_seconds: float = Field(
        default=30.0,
        gt=0,
        le=MAX_BREAKER_WAIT_SECONDS,
        description="seconds before an open breaker has one message tried; doubles with every one that "
        f"fails, at most {MAX_BREAKER_WAIT_SECONDS:g}",
    )
    dead_letter_topics: TopicNames = Field(
        default="",
        description="further topics in which operators look for dead letters, by their full names, with "
        "commas between: those of Spring, SmallRye, Kafka Connect, or of another prefix",
    )
    create_topics: bool = Field(default=False, description="whether topics that are missing are created")
    topic_partitions: int | None = Field(
        default=None, ge=1, description="partitions of topics that we create; by default the broker's choice"
    )
    replication_factor: int | None = Field(
        default=None,
        ge=1,
        le=32_767,
        description="copies of topics that we create; by default 3, or one a broker",
    )
    ssl_certificate_location: str | None = Field(
        default=None,
        description="a PEM file with the client's certificate, for mutual TLS; read again at every login, "
        "as all of these files are",
    )
    ssl_key_location: str | None = Field(
        default=None, description="the PEM file with its private key; may be the same file"
    )
    ssl_key_password: SecretStr | None = Field(
        default=None, description="the pass phrase of that key; never shown, logged or repeated"
    )
    sasl_password_file: str | None = Field(
        default=None,
        description="in place of `sasl_password`, a file that holds it; read again at every login",
    )
    ssl_key_password_file: str | None = Field(
        default=None,
        description="in place of `ssl_key_password`, a file that holds it; read again with the key",
    )
    console_secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="signs what pages of the console have shown, in at least 16 characters; the same in all "
        "processes that serve one; by default each process has its own",
    )
    allow_plaintext_credentials: bool = Field(
        default=False, description="whether SASL may go unencrypted to a host that is not loopback"
    )

    oauth_token_provider: TokenProvider | None = Field(
        default=None, exclude=True, repr=False, description="in code only: answers a token that is valid now"
    )

    @property
    def is_memory(self) -> bool:
        return self.bootstrap_servers.startswith(MEMORY)

    @property
    def memory_name(self) -> str:
        """The name of the in-process broker that buses share; empty for a private one, and for Kafka."""
        return self.bootstrap_servers.removeprefix(MEMORY) if self.is_memory else ""

    @property
    def further_dead_letter_topics(self) -> tuple[str, ...]:
        """`dead_letter_topics`, one by one."""
        return tuple(name for name in self.dead_letter_topics.split(",") if name)

    @property
    def uses_sasl(self) -> bool:
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @property
    def uses_tls(self) -> bool:
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def heartbeat_interval_ms(self) -> int:
        return HEARTBEAT_INTERVAL_MS

    @property
    def rebalance_timeout_ms(self) -> int:
        """More than the longest drain: a group removes a member that takes longer to rejoin."""
        return int(self.revoke_drain_seconds * 1000) + _REBALANCE_MARGIN_MS

    @property
    def consumer_request_timeout_ms(self) -> int:
        """More than the rebalance timeout, since a join is answered only when the rebalance ends."""
        return max(self.request_timeout_ms, self.rebalance_timeout_ms + _REQUEST_MARGIN_MS)

    @property
    def default_retry(self) -> Retry:
        return Retry(attempts=self.max_retry_attempts, delay_seconds=self.retry_delay_seconds)

    @property
    def default_breaker(self) -> Breaker | None:
        if not self.breaker:
            return None
        return Breaker(self.breaker_share, self.breaker_of, self.breaker_wait_seconds)

    def queue_group_for(self, queue: str) -> str:
        """The group that the receivers of `queue` share, in every process."""
        return queue_group(self.queue_group, self.topic_prefix, queue)


def settings_table() -> str:
    """The table of `docs/settings.md`, in Markdown: one row a setting, in the order of the model."""
    return "\n".join(["| setting | variable | default | effect |", "|---|---|---|---|", *_rows()])


def _rows() -> Iterator[str]:
    for name, field in SettingsFields.model_fields.items():
        variable = "in code only" if field.exclude else f"`{PREFIX}{name.upper()}`"
        yield f"| `{name}` | {variable} | {_default(field)} | {field.description} |"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`consumer_group`"
    if field.default is None:
        return "-"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if field.default == "":
        return "-"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"
