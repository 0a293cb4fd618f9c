"""The document tells all that is declared, as the wire has it, in one order, and by the official schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from convex_messaging_fastapi import (
    ConfigurationError,
    ConvexMessage,
    DeclarationError,
    MessageBus,
    MessagingSettings,
    Subscribers,
)
from convex_messaging_fastapi.asyncapi import document
from example_app.main import app as example
from example_app.main import bus as example_bus
from tests.asyncapi.official_schema import VERSIONS, mistakes_in
from tests.asyncapi.zoo import Order, zoo

GOLDEN = Path(__file__).parent / "example.json"

MEMORY = MessagingSettings(bootstrap_servers="memory://", consumer_group="shop")


def told(bus: MessageBus, *path: str) -> Any:
    found = document(bus)
    for step in path:
        found = found[step]
    return found


def schema_of(name: str, bus: MessageBus | None = None) -> Any:
    return told(bus or zoo(), "components", "schemas", name)


def fields(name: str, bus: MessageBus | None = None) -> Any:
    return schema_of(name, bus)["properties"]


# -- by the official schema ----------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "described",
    [
        pytest.param(lambda: document(zoo()), id="zoo"),
        pytest.param(lambda: document(example_bus, example), id="example"),
        pytest.param(lambda: document(MessageBus(MEMORY)), id="empty"),
    ],
)
def test_a_document_is_valid(described: Callable[[], Any], version: str) -> None:
    assert mistakes_in(described(), version) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: told["info"].pop("version"),
        lambda told: told["operations"]["take"].update(action="take"),
        lambda told: told["components"]["schemas"]["Order"].update(type="order"),
        lambda told: told["channels"]["orders"]["bindings"]["kafka"].update(bindingVersion="0.9.0"),
    ],
)
def test_the_schema_finds_what_is_wrong(damage: Callable[[Any], object]) -> None:
    damaged = deepcopy(document(zoo()))
    damage(damaged)
    assert mistakes_in(damaged)


def test_the_example_has_the_document_on_file() -> None:
    """After a wanted change: `convex-messaging asyncapi > tests/asyncapi/example.json`."""
    assert json.dumps(document(example_bus, example), indent=2) == GOLDEN.read_text().rstrip()


# -- in one order --------------------------------------------------------------------------------


def test_the_order_of_declarations_does_not_show() -> None:
    def declared(order: int) -> MessageBus:
        bus, more = MessageBus(MEMORY), Subscribers()

        async def handle(message: Order) -> None: ...

        steps: list[Callable[[], object]] = [
            lambda: bus.subscriber("orders", id="b")(handle),
            lambda: more.subscriber("orders", id="a", group="other")(handle),
            lambda: bus.publishes("orders", Order),
            lambda: more.publishes("orders", bytes),
            lambda: bus.publishes("invoices", bytes),
        ]
        for step in steps[::order]:
            step()
        bus.include(more)
        return bus

    assert json.dumps(document(declared(1))) == json.dumps(document(declared(-1)))


# -- channels and operations ---------------------------------------------------------------------


def test_a_topic_is_one_channel_with_and_without_its_prefix() -> None:
    channels = told(zoo(), "channels")
    assert list(channels) == sorted(channels)
    assert channels["orders.late"]["address"] == "convex.orders.late"
    assert channels["orders"] == {
        "address": "convex.orders",
        "messages": {"Order": {"$ref": "#/components/messages/Order"}},
        "bindings": {"kafka": {"topic": "convex.orders", "bindingVersion": "0.5.0"}},
    }


def test_a_handler_is_an_operation() -> None:
    assert told(zoo(), "operations", "take") == {
        "action": "receive",
        "channel": {"$ref": "#/channels/orders"},
        "title": "take",
        "summary": "Takes an order.",
        "description": "And keeps it.",
        "bindings": {
            "kafka": {
                "groupId": {"type": "string", "enum": ["zoo"]},
                "clientId": {"type": "string", "enum": ["zoo"]},
                "bindingVersion": "0.5.0",
            }
        },
        "x-convex": {
            "handler": "take",
            "kind": "event",
            "ordering": "key",
            "attempts": 7,
            "retryDelaySeconds": 5.0,
            "timeoutSeconds": 2.5,
            "deadLetter": "bury",
            "deadLetterTopic": "convex.dlq",
        },
        "messages": [{"$ref": "#/channels/orders/messages/Order"}],
    }


def test_a_handler_of_two_topics_is_two_operations_with_its_group_and_batch() -> None:
    operations = told(zoo(), "operations")
    one, other = operations["count_orders"], operations["count_orders_late"]
    assert one["x-convex"] == other["x-convex"]
    assert one["x-convex"]["batchRecords"] == 50
    assert one["x-convex"]["ordering"] == "partition"
    assert one["bindings"]["kafka"]["groupId"]["enum"] == ["counting"]


def test_a_receiver_reads_in_the_group_of_its_queue_and_may_bury_nothing() -> None:
    job = told(zoo(), "operations", "jobs")
    assert job["bindings"]["kafka"]["groupId"]["enum"] == ["convex.jobs"]
    assert (job["x-convex"]["kind"], job["x-convex"]["deadLetter"]) == ("command", "hold")
    assert "deadLetterTopic" not in job["x-convex"]


def test_what_is_published_is_one_operation_a_topic() -> None:
    assert told(zoo(), "operations", "publish_odd") == {
        "action": "send",
        "channel": {"$ref": "#/channels/odd"},
        "bindings": {"kafka": {"clientId": {"type": "string", "enum": ["zoo"]}, "bindingVersion": "0.5.0"}},
        "messages": [{"$ref": "#/channels/odd/messages/Odd"}, {"$ref": "#/channels/odd/messages/odd"}],
    }


def test_two_operations_never_share_a_key() -> None:
    bus = MessageBus(MEMORY)

    async def handle(message: Order) -> None: ...

    for id in ("a.b", "a_b", "publish.orders"):
        bus.subscriber("orders", id=id)(handle)
    bus.publishes("orders", Order)
    operations = told(bus, "operations")
    assert list(operations) == ["a_b", "a_b-2", "publish_orders", "publish_orders-2"]
    assert [operations[key]["action"] for key in operations] == ["receive"] * 3 + ["send"]


@pytest.mark.parametrize(
    ("topic", "refusal"),
    [
        ("dlq", "dead letters are written there"),
        ("x" * 249, "Kafka takes 249"),  # only with its prefix is it too long
    ],
)
def test_a_topic_that_may_not_be_published_to_is_refused(topic: str, refusal: str) -> None:
    bus = MessageBus(MEMORY)
    bus.publishes(topic, Order)
    with pytest.raises(ConfigurationError, match=refusal):
        document(bus)


def test_a_bus_that_would_not_start_has_no_document() -> None:
    bus = MessageBus(MEMORY)

    async def handle(message: Order) -> None: ...

    bus.subscriber("control")(handle)
    with pytest.raises(DeclarationError, match="cannot read topic"):
        document(bus)


async def test_a_handler_that_joins_a_running_bus_is_told() -> None:
    bus = MessageBus(MEMORY)

    async def handle(message: Order) -> None: ...

    async with bus.test():
        id = await bus.subscribe("orders", handle)
        assert list(told(bus, "channels")) == ["orders"]
        await bus.unsubscribe(id)
        assert list(told(bus, "channels")) == []


# -- messages ------------------------------------------------------------------------------------


def test_a_message_tells_its_type_on_the_wire_its_headers_and_its_key() -> None:
    message = told(zoo(), "components", "messages", "Order")
    assert message == {
        "name": "OrderV2",
        "title": "Order",
        "contentType": "application/json",
        "payload": {"$ref": "#/components/schemas/Order"},
        "headers": {"$ref": "#/components/schemas/message-headers"},
        "correlationId": {"location": "$message.header#/correlation-id"},
        "bindings": {"kafka": {"key": message["bindings"]["kafka"]["key"], "bindingVersion": "0.5.0"}},
    }
    headers = ["message-type", "timestamp", "message-id", "correlation-id", "causation-id", "content-type"]
    assert list(fields("message-headers"))[:6] == headers


def test_a_union_is_a_message_for_each_model_a_tombstone_and_one_for_the_rest() -> None:
    channel = told(zoo(), "channels", "moves")
    assert list(channel["messages"]) == ["Cancelled", "Shipped", "moves", "moves.tombstone"]
    messages = told(zoo(), "components", "messages")
    assert messages["moves"]["payload"] == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert messages["moves.tombstone"]["payload"] == {"type": "null"}
    assert list(told(zoo(), "channels", "pets", "messages")) == ["Cat", "Dog"]


@pytest.mark.parametrize(
    ("key", "content_type", "payload"),
    [
        ("jobs", "application/octet-stream", {}),
        ("raw", "application/octet-stream", {}),
        ("anything", "application/json", {}),
        ("odd", "application/json", {}),
        ("names", "application/json", {"type": "array", "items": {"type": "string"}}),
        ("names-2", "application/json", {"type": "string", "maxLength": 5}),
        ("users.tombstone", None, {"type": "null"}),
        ("Envelope_int_", "application/json", {"$ref": "#/components/schemas/Envelope_int_"}),
    ],
)
def test_a_message_without_a_model_is_called_by_its_topic(key: str, content_type: Any, payload: Any) -> None:
    message = told(zoo(), "components", "messages", key)
    assert (message.get("contentType"), message["payload"]) == (content_type, payload)


def test_two_models_of_one_name_are_two_messages() -> None:
    def another() -> type[BaseModel]:
        class Order(ConvexMessage):
            other: int

        return Order

    bus = MessageBus(MEMORY)
    bus.publishes("orders", Order)
    bus.publishes("orders", another())
    described = document(bus)
    assert mistakes_in(described) == []
    names = list(described["components"]["messages"])
    assert len(names) == 2
    assert all(name.endswith("Order") for name in names)
    assert [told(bus, "components", "messages", name)["title"] for name in names] == ["Order", "Order"]


# -- schemas -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        ("OrderId", {"type": "integer", "minimum": 1, "description": "From the shop."}),
        ("Amount", {"type": "number", "exclusiveMinimum": 0}),
        ("Discount", {"type": "number", "default": 1.5}),
        ("Raw", {"type": "string", "format": "byte"}),
        ("At", {"type": "string", "format": "date-time"}),
        ("Status", {"allOf": [{"$ref": "#/components/schemas/Status"}], "default": "open"}),
        ("Address", {"allOf": [{"$ref": "#/components/schemas/Address"}], "description": "Where to."}),
        ("Point", {"$ref": "#/components/schemas/Point"}),
        ("Note", {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
        ("Anything", {"default": None}),
        ("Prices", {"type": "object", "additionalProperties": {"type": "number"}, "default": {}}),
    ],
)
def test_a_field_is_told_as_the_wire_has_it(field: str, schema: Any) -> None:
    assert fields("Order")[field] == schema


def test_a_tuple_is_an_array_whose_items_have_places() -> None:
    point = schema_of("Point")
    assert [each["type"] for each in point.pop("items")] == ["integer", "integer"]
    assert point == {"type": "array", "minItems": 2, "maxItems": 2}


def test_fields_stand_in_the_order_of_the_class_and_refer_to_what_is_there() -> None:
    order = schema_of("Order")
    assert list(order["properties"])[:3] == ["OrderId", "Amount", "Discount"]
    assert order["required"] == ["OrderId", "Amount", "Raw", "Patience", "At", "Address", "Point"]
    text = json.dumps(document(zoo()))
    schemas = told(zoo(), "components", "schemas")
    assert list(schemas) == sorted(schemas)
    assert all(f"schemas/{name}" in text for name in schemas)


def test_what_is_read_and_what_is_written_are_two_where_they_differ() -> None:
    assert fields("Plain-Input")["amount"]["anyOf"] == [{"type": "number"}, {"type": "string"}]
    assert "doubled" in fields("Plain-Output")
    channel = told(zoo(), "channels", "plain.read")
    assert list(channel["messages"]) == ["Plain-Input", "Plain-Output"]
    names = {told(zoo(), "components", "messages", key)["name"] for key in channel["messages"]}
    assert names == {"Plain"}


def test_what_no_schema_tells_leaves_the_rest() -> None:
    assert fields("Odd")["number"] == {"type": "integer"}
    assert set(fields("Odd")["handle"]) == {"description"}


def test_a_discriminator_is_the_name_of_a_field() -> None:
    pet = fields("Envelope_int_")["pet"]["anyOf"][0]
    assert pet["discriminator"] == "kind"


# -- what stands around it -----------------------------------------------------------------------


def test_the_app_tells_who_it_is() -> None:
    app = FastAPI(title="Shop", version="2.1.0", description="All that is sold.")
    assert document(zoo(), app)["info"] == {
        "title": "Shop",
        "version": "2.1.0",
        "description": "All that is sold.",
    }
    assert document(zoo())["info"] == {"title": "zoo", "version": "0.1.0"}


SASL = {"sasl_username": "ada", "sasl_password": "s3cret"}


@pytest.mark.parametrize(
    ("settings", "protocol", "scheme"),
    [
        ({}, "kafka", None),
        ({"security_protocol": "SSL"}, "kafka-secure", None),
        ({"security_protocol": "SASL_SSL", **SASL}, "kafka-secure", {"type": "plain"}),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256", **SASL},
            "kafka-secure",
            {"type": "scramSha256"},
        ),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512", **SASL},
            "kafka",
            {"type": "scramSha512"},
        ),
    ],
)
def test_servers_tell_how_to_log_in_and_never_as_whom(settings: Any, protocol: str, scheme: Any) -> None:
    described = document(zoo(bootstrap_servers="localhost:9092,localhost:9093", **settings))
    assert [each["host"] for each in described["servers"].values()] == ["localhost:9092", "localhost:9093"]
    assert {each["protocol"] for each in described["servers"].values()} == {protocol}
    assert [*described["components"].get("securitySchemes", {}).values()] == ([scheme] if scheme else [])
    assert mistakes_in(described) == []
    assert not [word for word in ("ada", "s3cret") if word in json.dumps(described["servers"])]
    assert "s3cret" not in json.dumps(described)


def test_a_broker_in_memory_is_no_server_for_others() -> None:
    assert "servers" not in document(zoo())
    assert list(document(zoo(bootstrap_servers="kafka:9092"))["servers"]) == ["kafka"]
