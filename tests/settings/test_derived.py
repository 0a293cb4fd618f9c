"""What follows from the settings, so that no caller works it out for itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convex_messaging_fastapi.policies import Retry
from convex_messaging_fastapi.settings import MessagingSettings, load


@settings(deadline=None)  # a busy machine is no mistake
@given(st.floats(min_value=0, max_value=1800), st.integers(min_value=1000, max_value=2_147_483_647))
def test_a_drain_is_shorter_than_a_rebalance_and_that_shorter_than_a_request(
    drain: float, request: int
) -> None:
    made = MessagingSettings(revoke_drain_seconds=drain, request_timeout_ms=request)

    assert drain * 1000 < made.rebalance_timeout_ms < made.consumer_request_timeout_ms
    assert made.consumer_request_timeout_ms >= request
    assert made.consumer_request_timeout_ms < 2**31


def test_the_timeouts_of_a_rebalance_in_figures() -> None:
    short, long = load(), load(revoke_drain_seconds=30)

    assert (short.rebalance_timeout_ms, short.consumer_request_timeout_ms) == (15_000, 30_000)
    assert (long.rebalance_timeout_ms, long.consumer_request_timeout_ms) == (40_000, 45_000)


def test_three_heartbeats_fit_into_the_shortest_session() -> None:
    assert load().heartbeat_interval_ms * 3 < load(session_timeout_ms=6000).session_timeout_ms


def test_the_default_retry_is_what_the_settings_say() -> None:
    assert load(max_retry_attempts=7, retry_delay_seconds=0.5).default_retry == Retry(7, 0.5)
    assert load(retry_delay_seconds=300).default_retry.delay_seconds == 300


@pytest.mark.parametrize(
    ("servers", "is_memory", "name"),
    [("localhost:9092", False, ""), ("memory://", True, ""), ("memory://bets", True, "bets")],
)
def test_the_in_process_broker(servers: str, is_memory: bool, name: str) -> None:
    settings = load(bootstrap_servers=servers)

    assert (settings.is_memory, settings.memory_name) == (is_memory, name)


def test_addresses_lose_their_blanks() -> None:
    assert load(bootstrap_servers=" a:1 ,[::1]:2, ").bootstrap_servers == "a:1,[::1]:2"
    assert load(bootstrap_servers=["a:1", "b:2"]).bootstrap_servers == "a:1,b:2"


@pytest.mark.parametrize(
    ("protocol", "sasl", "tls"),
    [
        ("PLAINTEXT", False, False),
        ("SSL", False, True),
        ("SASL_PLAINTEXT", True, False),
        ("SASL_SSL", True, True),
    ],
)
def test_what_a_protocol_uses(protocol: str, sasl: bool, tls: bool) -> None:
    settings = load(security_protocol=protocol, sasl_username="bets", sasl_password="secret")

    assert (settings.uses_sasl, settings.uses_tls) == (sasl, tls)


@pytest.mark.parametrize(
    ("template", "prefix", "queue", "group"),
    [
        ("{prefix}.{queue}", "convex", "user.notifications", "convex.user.notifications"),
        ("{prefix}.{queue}", "convex", "convex.user.notifications", "convex.user.notifications"),
        ("{prefix}.{queue}", "", "user.notifications", "user.notifications"),
        ("{queue}-by-{prefix}", "", "pay", "pay-by-"),
        ("betting-service", "convex", "pay", "betting-service"),
        ("{queue}", "convex", "{prefix}", "{prefix}"),
    ],
)
def test_the_group_of_a_queue(template: str, prefix: str, queue: str, group: str) -> None:
    assert load(queue_group=template, topic_prefix=prefix).queue_group_for(queue) == group


def test_a_service_is_called_by_its_group_unless_it_says_otherwise() -> None:
    assert load(consumer_group="bets").client_id == "bets"
    assert load(consumer_group="bets", client_id="bets-1").client_id == "bets-1"
    assert load().client_id == "convex-group"
