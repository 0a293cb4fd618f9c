"""What is no contradiction, beside what is: each rule is judged only where it matters."""

from __future__ import annotations

from typing import Any

import pytest

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import load

LOGIN = {"sasl_username": "bets", "sasl_password": "secret"}


async def token() -> str:
    return "token"


@pytest.mark.parametrize(
    "fine",
    [
        {"sasl_username": "bets"},
        {"sasl_mechanism": "OAUTHBEARER"},
        {"ssl_certificate_location": "client.pem"},
        {"security_protocol": "SASL_SSL", **LOGIN},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "oauth_token_provider": token},
        {"security_protocol": "SASL_SSL", "bootstrap_servers": "memory://"},
        {"security_protocol": "SSL", "bootstrap_servers": "memory://", "ssl_key_location": "client.key"},
        {"security_protocol": "SSL", "ssl_certificate_location": "c.pem", "ssl_key_location": "c.pem"},
        {"drain_timeout_seconds": 0, "shutdown_timeout_seconds": 1},
    ],
    ids=lambda fine: ",".join(fine),
)
def test_what_has_no_effect_is_not_judged(fine: dict[str, Any]) -> None:
    load(**fine)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_credentials_may_go_unencrypted_to_this_machine(host: str) -> None:
    load(security_protocol="SASL_PLAINTEXT", bootstrap_servers=f"{host}:9092", **LOGIN)


@pytest.mark.parametrize(
    "host",
    [
        "kafka",
        "10.0.0.1",
        "[fe80::1]",
        "localhost.example.org",
        "kafka.localhost",
        "localhost.",
        "127.0.0.1.example.org",
    ],
)
def test_credentials_go_unencrypted_to_no_other(host: str) -> None:
    given: dict[str, Any] = {
        "security_protocol": "SASL_PLAINTEXT",
        "bootstrap_servers": f"{host}:9092",
        **LOGIN,
    }

    with pytest.raises(ConfigurationError, match="unencrypted"):
        load(**given)
    load(**given, allow_plaintext_credentials=True)


def test_a_drain_as_long_as_the_shutdown_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be less than"):
        load(drain_timeout_seconds=25)


def test_all_contradictions_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(
            drain_timeout_seconds=30,
            security_protocol="SASL_SSL",
            ssl_certificate_location="client.pem",
        )

    assert str(caught.value).startswith("3 settings are wrong:\n  - drain")
