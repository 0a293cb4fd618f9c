"""The messages of a document: each type once, however many topics and handlers have it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, NamedTuple

from convex_messaging_fastapi.asyncapi.schemas import SCHEMAS, Mode, Schema, schemas_of
from convex_messaging_fastapi.messages.choosing import annotated, class_of, members_of, union_of
from convex_messaging_fastapi.messages.headers import (
    CAUSATION_ID,
    CONTENT_TYPE,
    CORRELATION_ID,
    MESSAGE_ID,
    MESSAGE_TYPE,
    TIMESTAMP,
)
from convex_messaging_fastapi.messages.message_types import wire_name

BINDING_VERSION = "0.5.0"
"""Of Kafka's bindings, whatever they are about."""


class Use(NamedTuple):
    """A type of message that one topic has, and whether it is read there or written."""

    topic: str
    kind: Any
    mode: Mode


@dataclass(frozen=True, slots=True)
class Messages:
    """`keys` are those of the uses, in their order."""

    keys: list[str]
    messages: dict[str, Any]
    schemas: dict[str, Schema]


def uses_of(topic: str, annotation: Any, mode: Mode) -> Iterator[Use]:
    """One for each model that the annotation names, one for a tombstone, and one for all the rest."""
    rest = []
    for kind, metadata in members_of(annotation):
        if kind is NoneType or class_of(kind) is not None:
            yield Use(topic, kind, mode)
        else:
            rest.append(annotated(kind, metadata))
    if rest:
        yield Use(topic, union_of(rest), mode)


def messages_of(uses: Sequence[Use]) -> Messages:
    """Their descriptions, and the schemas that these refer to."""
    shown, named = schemas_of([(use.kind, use.mode) for use in uses])
    messages: dict[str, Any] = {}
    keys = []
    for use, schema in zip(uses, shown, strict=True):
        key, described = _described(use, schema)
        keys.append(key := free_key(key, described, messages))
        messages[key] = described
    if messages:
        named = {**named, HEADERS_NAME: HEADERS}
    return Messages(keys, _sorted(messages), _sorted(named))


def free_key(key: str, described: Any, taken: dict[str, Any]) -> str:
    """The key itself, or with a number when something else has it already."""
    number, free = 1, key
    while taken.get(free, described) != described:
        number += 1
        free = f"{key}-{number}"
    return free


def _described(use: Use, schema: Schema | None) -> tuple[str, dict[str, Any]]:
    if use.kind is NoneType:
        return f"{use.topic}.tombstone", {"name": "tombstone", **_TOMBSTONE, **_COMMON}
    if use.kind is bytes:
        return use.topic, {
            "name": use.topic,
            "contentType": "application/octet-stream",
            "payload": {},
            **_COMMON,
        }
    model = class_of(use.kind)
    said: dict[str, Any] = {"payload": schema}
    if schema is None:
        said = {"payload": {}, "description": "No JSON Schema tells what it may be."}
    said = {"contentType": "application/json", **said, **_COMMON}
    if model is None:
        return use.topic, {"name": use.topic, **said}
    reference = str((schema or {}).get("$ref", "")).removeprefix(SCHEMAS)
    return reference or _key(model.__name__), {"name": wire_name(model), "title": model.__name__, **said}


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _sorted(by_name: dict[str, Any]) -> dict[str, Any]:
    return {name: by_name[name] for name in sorted(by_name)}


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


HEADERS_NAME = "message-headers"  # no class of a user's can be called so

HEADERS: Schema = {
    "type": "object",
    "description": "Written with every message. None of them is needed to read one.",
    "properties": {
        MESSAGE_TYPE: _text(
            "The message's name. A namespace before it and type arguments after it say no more."
        ),
        TIMESTAMP: _text("When it was published, in Unix seconds.", pattern="^[0-9]+$"),
        MESSAGE_ID: _text("Its own id. What is written twice has it twice."),
        CORRELATION_ID: _text("The id of all that followed from one request."),
        CAUSATION_ID: _text("The id of the message whose handling published this one."),
        CONTENT_TYPE: _text("application/json, or application/octet-stream for raw bytes."),
        "traceparent": _text("The trace that it belongs to, as W3C Trace Context has it."),
        "tracestate": _text("What vendors add to the trace."),
    },
}

_COMMON: dict[str, Any] = {
    "headers": {"$ref": SCHEMAS + HEADERS_NAME},
    "correlationId": {"location": f"$message.header#/{CORRELATION_ID}"},
    "bindings": {
        "kafka": {
            "key": _text("As UTF-8. Messages of one key keep their order; a message may have none."),
            "bindingVersion": BINDING_VERSION,
        }
    },
}

_TOMBSTONE: dict[str, Any] = {
    "title": "Tombstone",
    "description": "A null value: what its key had is deleted.",
    "payload": {"type": "null"},
}
