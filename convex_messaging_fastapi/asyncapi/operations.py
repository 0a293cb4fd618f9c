"""What an app does with its topics: reads them in handlers, and publishes to them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from convex_messaging_fastapi.asyncapi.messages import BINDING_VERSION, Use, uses_of
from convex_messaging_fastapi.consuming.calling import CallPlan
from convex_messaging_fastapi.consuming.calling.callables import innermost_of
from convex_messaging_fastapi.declarations import Declarations
from convex_messaging_fastapi.naming import Naming
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.subscribers import Declaration, Publication


class Operation(NamedTuple):
    """`channel` is the topic without the prefix, `address` the topic as it is in the cluster."""

    key: str
    action: Literal["receive", "send"]
    channel: str
    address: str
    uses: tuple[Use, ...]
    said: dict[str, Any]


class Declared(NamedTuple):
    """What a bus has declared at one time, for another thread to read."""

    handlers: tuple[tuple[Declaration, CallPlan], ...]
    publications: tuple[Publication, ...]


def declared_on(declarations: Declarations) -> Declared:
    """Costs no more than a list of them."""
    handlers = tuple((each, declarations.plan_of(each)) for each in declarations)
    return Declared(handlers, declarations.publications)


def operations_of(declared: Declared, settings: MessagingSettings) -> list[Operation]:
    """All of them, by their keys. Raises what the start of the bus, and a publish, would raise."""
    naming = Naming(settings)
    naming.take_in(each for each, _ in declared.handlers)
    found = [*_received(declared, settings, naming), *_sent(declared, settings, naming)]
    return sorted(found, key=lambda each: (each.key, each.channel))


def _received(all_declared: Declared, settings: MessagingSettings, naming: Naming) -> Iterator[Operation]:
    for declared, plan in all_declared.handlers:
        group = naming.group_of(declared)
        for topic in declared.topics:
            address = naming.topic(topic)
            channel = _without_prefix(address, settings)
            yield Operation(
                _key(declared.id if len(declared.topics) == 1 else f"{declared.id}_{channel}"),
                "receive",
                channel,
                address,
                tuple(uses_of(channel, plan.message, "validation")),
                {
                    **_told_by(declared),
                    "bindings": {"kafka": {"groupId": _only(group), **_client(settings)}},
                    "x-convex": _choices(declared, settings, naming),
                },
            )


def _sent(declared: Declared, settings: MessagingSettings, naming: Naming) -> Iterator[Operation]:
    uses: dict[tuple[str, str], list[Use]] = {}
    for published in declared.publications:
        address = naming.to_publish(published.topic)
        channel = _without_prefix(address, settings)
        uses.setdefault((channel, address), []).extend(uses_of(channel, published.message, "serialization"))
    for (channel, address), found in uses.items():
        said = {"bindings": {"kafka": _client(settings)}}
        yield Operation(_key(f"publish_{channel}"), "send", channel, address, tuple(found), said)


def _told_by(declared: Declaration) -> dict[str, Any]:
    """What its author wrote about the handler, and what kind of topic it reads."""
    written = innermost_of(declared.handler)
    text = inspect.getdoc(written) if inspect.isroutine(written) else None
    summary, _, rest = (text or "").partition("\n\n")
    about = {"summary": " ".join(summary.split()), "description": rest.strip()}
    return {"title": declared.id, **{name: said for name, said in about.items() if said}}


def _choices(declared: Declaration, settings: MessagingSettings, naming: Naming) -> dict[str, Any]:
    options = declared.options
    retry = options.retry or settings.default_retry
    return {
        "handler": declared.id,
        "kind": declared.kind,
        "ordering": "partition" if options.batch else options.ordering,
        "attempts": retry.attempts,
        "retryDelaySeconds": retry.delay_seconds,
        "timeoutSeconds": options.timeout,
        "deadLetter": options.dead_letter,
        **({"deadLetterTopic": naming.dead_letters} if options.dead_letter == "bury" else {}),
        **({"batchRecords": options.batch.max_records} if options.batch else {}),
    }


def _client(settings: MessagingSettings) -> dict[str, Any]:
    return {"clientId": _only(settings.client_id), "bindingVersion": BINDING_VERSION}


def _only(value: str) -> dict[str, Any]:
    return {"type": "string", "enum": [value]}


def _without_prefix(address: str, settings: MessagingSettings) -> str:
    """One name for a topic that may be declared with its prefix and without it."""
    return address.removeprefix(f"{settings.topic_prefix}.")


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)
