"""The .NET library's `appsettings.json`, word for word, beside everything else such a file holds."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from convex_messaging_fastapi.settings import MessagingSettings, load
from tests.settings.conftest import Place

APPSETTINGS = """\
{
  "Logging": {
    "LogLevel": {
      "Default": "Information",
      "Microsoft.AspNetCore": "Warning"
    }
  },
  "AllowedHosts": "*",
  "ConnectionStrings": {
    "Bets": "Server=localhost;Database=bets;Trusted_Connection=True;"
  },
  // Kafka
  "ConvexMessaging": {
    "BootstrapServers": "kafka-1:9092,kafka-2:9092",
    "SecurityProtocol": "Plaintext", // Plaintext, Ssl, SaslPlaintext, SaslSsl
    "SaslMechanism": "Plain",
    "SaslUsername": "",
    "SaslPassword": "",
    "SslCaLocation": "",
    "TopicPrefix": "betting",
    "ConsumerGroup": "betting-service",
    "AutoOffsetReset": "earliest",
    "EnableAutoCommit": false,
    "AutoCommitIntervalMs": 1000,
    "SessionTimeoutMs": 45000,
    "RequestTimeoutMs": 20000,
    "MaxRetryAttempts": 5,
    "RetryDelaySeconds": 2,
    /* a day */
    "MessageRetentionMs": 86400000,
  },
}
"""


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_the_file_works_as_it_is(mark: str, newline: str, place: Place) -> None:
    place.write("appsettings.json", mark + APPSETTINGS.replace("\n", newline))

    assert load().model_dump(exclude_defaults=True) == {
        "bootstrap_servers": "kafka-1:9092,kafka-2:9092",
        "topic_prefix": "betting",
        "consumer_group": "betting-service",
        "client_id": "betting-service",
        "enable_auto_commit": False,
        "auto_commit_interval_ms": 1000,
        "session_timeout_ms": 45_000,
        "request_timeout_ms": 20_000,
        "max_retry_attempts": 5,
        "retry_delay_seconds": 2.0,
        "message_retention_ms": 86_400_000,
    }


def test_its_sixteen_names_have_the_defaults_of_the_dotnet_library() -> None:
    assert load().model_dump(include=set(list(MessagingSettings.model_fields)[:16])) == {
        "bootstrap_servers": "localhost:9092",
        "security_protocol": "PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": None,
        "sasl_password": None,
        "ssl_ca_location": None,
        "topic_prefix": "convex",
        "consumer_group": "convex-group",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": True,
        "auto_commit_interval_ms": 5000,
        "session_timeout_ms": 30_000,
        "request_timeout_ms": 30_000,
        "max_retry_attempts": 3,
        "retry_delay_seconds": 5.0,
        "message_retention_ms": 604_800_000,
    }


def test_numbers_and_booleans_may_be_text_and_text_may_be_numbers(place: Place) -> None:
    """.NET keeps every value as text, so it does not tell them apart."""
    place.appsettings(
        {
            "EnableAutoCommit": "False",
            "MaxRetryAttempts": "5",
            "RetryDelaySeconds": "0.5",
            "SaslPassword": 12345,
        }
    )

    settings = load()

    assert (settings.enable_auto_commit, settings.max_retry_attempts) == (False, 5)
    assert settings.retry_delay_seconds == 0.5
    assert settings.sasl_password == SecretStr("12345")


@pytest.mark.parametrize(
    ("name", "spelling", "meaning"),
    [
        ("security_protocol", "SaslSsl", "SASL_SSL"),
        ("security_protocol", "sasl_plaintext", "SASL_PLAINTEXT"),
        ("security_protocol", "Ssl", "SSL"),
        ("security_protocol", "PlainText", "PLAINTEXT"),
        ("sasl_mechanism", "Plain", "PLAIN"),
        ("sasl_mechanism", "ScramSha256", "SCRAM-SHA-256"),
        ("sasl_mechanism", "scram-sha-512", "SCRAM-SHA-512"),
        ("sasl_mechanism", "SCRAM_SHA_512", "SCRAM-SHA-512"),
        ("sasl_mechanism", "OAuthBearer", "OAUTHBEARER"),
        ("auto_offset_reset", "Earliest", "earliest"),
        ("auto_offset_reset", "LATEST", "latest"),
        ("partitioner", "Murmur2Random", "murmur2"),
        ("partitioner", "Murmur2", "murmur2"),
        ("partitioner", "ConsistentRandom", "crc32"),
        ("partitioner", "consistent", "crc32"),
        ("partitioner", "CRC32", "crc32"),
    ],
)
def test_both_worlds_spellings_are_taken(name: str, spelling: str, meaning: str, place: Place) -> None:
    place.variables(**{f"KAFKA_{name.upper()}": spelling})
    known = {"sasl_username": "u", "sasl_password": "p", "bootstrap_servers": "localhost:9092"}
    if name != "security_protocol":
        known["security_protocol"] = "PLAINTEXT"

    assert getattr(load(**known), name) == meaning
