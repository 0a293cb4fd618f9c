"""An engine that lacks what is relied on is refused by name, before anything runs on it."""

from __future__ import annotations

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.producer.producer import AIOKafkaProducer

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.transport.kafka.engine import check_engine, selfcheck


def test_the_installed_engine_is_known() -> None:
    check_engine()


def test_a_method_with_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit_all(self: object) -> None: ...

    monkeypatch.setitem(selfcheck._PARAMETERS, commit_all, ("self", "offsets"))
    with pytest.raises(ConfigurationError, match=r"commit_all\('self', 'offsets'\)\. Install aiokafka>="):
        check_engine()


def test_an_attribute_that_is_no_longer_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(selfcheck._SET_BY_CONSTRUCTOR, AIOKafkaProducer, ("_gone",))
    with pytest.raises(ConfigurationError, match=r"aiokafka .* lacks AIOKafkaProducer\._gone"):
        check_engine()


def test_a_property_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(selfcheck._PROPERTIES, SubscriptionState, ("gone",))
    with pytest.raises(ConfigurationError, match=r"SubscriptionState\.gone"):
        check_engine()
