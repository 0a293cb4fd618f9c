"""What the package offers is somewhere in the README or its pages, and what these name is there."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator

import pytest

import convex_messaging_fastapi
from convex_messaging_fastapi import (
    Batch,
    Breaker,
    ConvexMessage,
    Delivery,
    MessageBus,
    MessagingError,
    MessagingRouter,
    MessagingSettings,
    Retry,
    Subscribers,
    errors,
)
from convex_messaging_fastapi.errors import HandlerSignal
from convex_messaging_fastapi.policies import SubscriberOptions
from convex_messaging_fastapi.testing import TestBench
from convex_messaging_fastapi.verdicts import REASONS, STATUSES
from tests.readme.reading import BOOK, PAGES, PROSE
from tests.support.snapshots import SITUATIONS, Situation

HANDLERS = PAGES["handlers.md"]

CODE = " ".join(re.findall(r"`([^`\n]+)`", PROSE))
"""What the prose and its tables show as code."""

REASONS_TABLE = PAGES["health.md"].partition("| reason |")[2].partition("\n\n")[0]


def public(owner: type) -> Iterator[str]:
    """The attributes of a class that users may call or read."""
    for base in owner.__mro__[:-1]:
        if base.__module__.startswith("convex_messaging_fastapi"):
            yield from (name for name in vars(base) if not name.startswith("_"))


def is_named(name: str, text: str = BOOK) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def missing(names: set[str] | frozenset[str], text: str = CODE) -> list[str]:
    return sorted(name for name in names if not is_named(name, text))


def test_everything_that_a_service_imports_is_named() -> None:
    assert not missing(set(convex_messaging_fastapi.__all__), BOOK)


def test_every_verb_of_the_bus_is_named_as_a_call_on_it() -> None:
    by_hand = {"start"}  # what `async with bus:` and the lifespan do
    verbs = {name for name in public(MessageBus) if callable(getattr(MessageBus, name))} - by_hand

    assert not [verb for verb in sorted(verbs) if not is_named(f"bus.{verb}")]


def test_every_call_on_the_bus_that_is_named_exists() -> None:
    called = set(re.findall(r"\bbus\.([a-z_]\w*)\b", BOOK)) - {"py"}

    assert not [verb for verb in called if not hasattr(MessageBus, verb)]


@pytest.mark.parametrize("verb", ["publish", "publish_many", "publish_sync", "tombstone", "send"])
def test_every_keyword_of_publishing_is_explained(verb: str) -> None:
    chosen = inspect.signature(getattr(MessageBus, verb)).parameters.values()
    keywords = {f"{each.name}=" for each in chosen if each.kind is each.KEYWORD_ONLY}

    assert keywords
    assert not [keyword for keyword in keywords if keyword not in CODE]


def test_every_choice_of_a_subscriber_stands_in_the_table() -> None:
    choices = {field.name for field in dataclasses.fields(SubscriberOptions)}

    assert not [choice for choice in choices if f"\n| `{choice}` |" not in HANDLERS]


def test_every_field_of_a_policy_stands_beside_its_default() -> None:
    for policy in dataclasses.fields(Retry):
        assert f"\n| `{policy.name}` |" in HANDLERS
    (batch,) = re.findall(r"^`Batch` takes.*$", PROSE, re.MULTILINE)
    for policy in dataclasses.fields(Batch):
        assert f"`{policy.name}` ({policy.default:g})" in batch
    (breaker,) = re.findall(r"`Breaker` takes.*$", PROSE, re.MULTILINE)
    for policy in dataclasses.fields(Breaker):
        assert f"`{policy.name}` ({policy.default:g})" in breaker


def test_the_defaults_of_retrying_are_those_of_the_code() -> None:
    table = dict(
        re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", HANDLERS[HANDLERS.index("| of `Retry`") :], re.M)
    )
    numbers = {field.name: field.default for field in dataclasses.fields(Retry)}
    for name in ("attempts", "delay_seconds", "multiplier", "max_delay_seconds", "jitter"):
        assert float(table[name]) == numbers[name]
    assert (table["only"], table["never"]) == ("(Exception,)", "()")


def below(root: type[Exception]) -> Iterator[type[Exception]]:
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from below(child)


def test_every_error_has_its_row_with_what_it_is() -> None:
    for error in below(MessagingError):
        kind = error.__mro__[1].__name__
        assert f"\n| `{error.__name__}` | `{kind}` |" in PAGES["errors.md"], error


def test_every_signal_stands_in_the_table_of_what_becomes_of_a_message() -> None:
    for signal in below(HandlerSignal):
        assert f"\n| raises `{signal.__name__}(" in HANDLERS, signal


def test_every_word_of_the_probes_is_explained() -> None:
    assert set(re.findall(r"`(\w+)`", "\n".join(first_column(REASONS_TABLE)))) == REASONS
    assert not missing(set(STATUSES))


@pytest.mark.parametrize("situation", [each for each in SITUATIONS.values() if len(each.reasons) == 1])
def test_the_code_that_stands_beside_a_reason_is_the_one_that_is_answered(situation: Situation) -> None:
    """The table is of `/ready` as it judges Kafka, and of the page above it."""
    (reason,) = situation.reasons
    (row,) = (row for row in REASONS_TABLE.splitlines() if f"`{reason}`" in row.split("|")[1])

    assert str(situation.codes[3]) in row.split("|")[2]


def first_column(table: str) -> list[str]:
    return [row.split("|")[1] for row in table.splitlines()[2:] if row.startswith("|")]


def test_everything_that_a_bench_and_a_delivery_offer_is_named() -> None:
    inner = {"watch", "notes_of", "finish", "broker", "transport", "clock", "record", "lease"}

    assert not missing(set(public(TestBench)) - inner, BOOK)
    assert not missing(set(public(Delivery)) - inner, BOOK)
    assert not missing(set(public(Subscribers)) - {"add", "get", "remove"}, BOOK)


def test_every_keyword_of_the_router_and_of_a_message_class_is_named() -> None:
    for taker in (MessagingRouter.__init__, MessageBus.__init__, ConvexMessage.__init_subclass__):
        for each in inspect.signature(taker).parameters.values():
            if each.kind is each.KEYWORD_ONLY:
                assert is_named(f"{each.name}=") or f"{each.name}=" in BOOK, each.name


def test_every_variable_that_is_named_is_one_that_is_read() -> None:
    named = set(re.findall(r"(?<!_)\bKAFKA_[A-Z_]+[A-Z]\b", BOOK))
    settings = {f"KAFKA_{name.upper()}" for name in MessagingSettings.model_fields}

    assert named - settings <= OF_BROKERS
    assert settings - named == {"KAFKA_OAUTH_TOKEN_PROVIDER"}


OF_BROKERS = {
    "KAFKA_ADVERTISED_LISTENERS",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR",
    "KAFKA_PORT",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
}
"""Variables that we do not read, which pages warn of."""
