"""The document: what a bus has declared, as AsyncAPI tells it.

Everything in it is in one order whatever the order of declarations, so that a difference means something.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from convex_messaging_fastapi.asyncapi.messages import BINDING_VERSION, Messages, free_key, messages_of
from convex_messaging_fastapi.asyncapi.operations import Declared, Operation, declared_on, operations_of
from convex_messaging_fastapi.asyncapi.servers import logins_of, servers_of
from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.settings import MessagingSettings

VERSION = "3.1.0"
"""Of AsyncAPI."""

Keyed = list[tuple[Operation, list[str]]]
"""Operations, each with the keys of its messages."""


def document(bus: MessageBus, app: Any | None = None) -> dict[str, Any]:
    """The AsyncAPI document of what this bus has declared, as JSON values.

    Title, version and description are those of `app`, a FastAPI app; without one the title is the consumer
    group. Settings are those that the bus runs with, or would start with. Raises `ConfigurationError` and
    `DeclarationError` where the bus would not start, and for a topic that may not be published to.
    """
    return document_of(declared_on(bus._declarations), settings_of(bus), app)


def settings_of(bus: MessageBus) -> MessagingSettings:
    """Those that it runs with, or would start with. Raises `ConfigurationError`."""
    running = bus._life.running
    return running.parts.settings if running is not None else bus._read()


def document_of(declared: Declared, settings: MessagingSettings, app: Any | None = None) -> dict[str, Any]:
    """The same, in any thread, with settings that may be others than the bus's own."""
    operations = operations_of(declared, settings)
    messages = messages_of([use for operation in operations for use in operation.uses])
    keys = iter(messages.keys)
    keyed = [(each, list(islice(keys, len(each.uses)))) for each in operations]
    servers = servers_of(settings)
    return {
        "asyncapi": VERSION,
        "info": _info(app, settings),
        "defaultContentType": "application/json",
        **({"servers": servers} if servers else {}),
        "channels": _channels(keyed),
        "operations": _operations(keyed),
        "components": _components(messages, settings),
    }


def _info(app: Any | None, settings: MessagingSettings) -> dict[str, Any]:
    title, version = getattr(app, "title", None), getattr(app, "version", None)
    description = getattr(app, "description", None)
    return {
        "title": str(title or settings.consumer_group),
        "version": str(version or "0.1.0"),
        **({"description": str(description)} if description else {}),
    }


def _channels(keyed: Keyed) -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for operation, keys in sorted(keyed, key=lambda each: each[0].channel):
        channel = channels.setdefault(
            operation.channel,
            {
                "address": operation.address,
                "messages": {},
                "bindings": {"kafka": {"topic": operation.address, "bindingVersion": BINDING_VERSION}},
            },
        )
        found = {*channel["messages"], *keys}
        channel["messages"] = {key: {"$ref": f"#/components/messages/{key}"} for key in sorted(found)}
    return channels


def _operations(keyed: Keyed) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for operation, keys in keyed:
        channel = f"#/channels/{operation.channel}"
        described = {
            "action": operation.action,
            "channel": {"$ref": channel},
            **operation.said,
            "messages": [{"$ref": f"{channel}/messages/{key}"} for key in sorted(set(keys))],
        }
        operations[free_key(operation.key, described, operations)] = described
    return operations


def _components(messages: Messages, settings: MessagingSettings) -> dict[str, Any]:
    logins = logins_of(settings)
    return {
        "messages": messages.messages,
        "schemas": messages.schemas,
        **({"securitySchemes": logins} if logins else {}),
    }
