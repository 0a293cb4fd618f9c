"""Error texts for likely mistakes: a bus where a router is wanted, a stop inside a handler."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

ASKED_OF_ROUTERS = frozenset({"_contains_router", "routes", "lifespan_context", "on_startup", "prefix"})
"""What `include_router` asks a router for."""


def no_settings(value: object) -> str:
    return (
        "MessageBus takes MessagingSettings, as in MessageBus(MessagingSettings(bootstrap_servers="
        f"'localhost:9092')), not {kind_of(value)}; without any it reads KAFKA_* variables, .env and "
        "appsettings.json"
    )


def not_one_of(kind: str, keyword: str, given: object) -> str:
    return (
        f"MessageBus takes {keyword}=[...], a list of objects whose classes derive from {kind}, "
        f"not {kind_of(given)}"
    )


def no_attribute_of_a_bus(name: str) -> str:
    if name in ASKED_OF_ROUTERS:
        return "a MessageBus is no router: include it with app.include_router(MessagingRouter(bus))"
    return f"'MessageBus' object has no attribute {name!r}"


def late(id: str, kind: str) -> str:
    verb = "subscribe" if kind == "event" else "receive"
    return (
        f"{id!r} is declared on Subscribers that a running bus has included, and would never be called: "
        f"import its module before the app starts, or use `await bus.{verb}(...)`"
    )


def stop_in_handler(id: str) -> str:
    return (
        f"the handler {id!r} cannot stop the bus while it handles a message: the stop would wait for it. "
        "Let a task outside of handlers do it: one that was begun before, and waits for an event that the "
        "handler sets; or end the process by a signal to itself"
    )


def no_bus(value: object) -> str:
    return (
        "MessagingRouter takes the bus, as in MessagingRouter(MessageBus(...)), not "
        f"{kind_of(value)}; settings are given to MessageBus"
    )


PUBLISHING = ("publish", "publish_many", "publish_sync", "send", "tombstone")


def no_attribute_of_a_router(name: str, verbs: Collection[str]) -> str:
    if name in PUBLISHING:
        return f"MessagingRouter has no {name!r}: messages are published with the bus, `bus.{name}(...)`"
    if name in verbs:
        return f"MessagingRouter has no {name!r}: handlers are declared on the bus, `bus.{name}(...)`"
    return f"'MessagingRouter' object has no attribute {name!r}"


def no_choice_of_a_router(name: str, choices: Collection[str]) -> str:
    if name == "prefix":
        return (
            "MessagingRouter has no `prefix`: the path of its probes is `health_prefix`, and what is put "
            "before every path is given to app.include_router(..., prefix=...)"
        )
    near = get_close_matches(name, choices, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(f'`{each}`' for each in choices)}"
    return f"MessagingRouter has no `{name}`; {hint}"


def kind_of(value: object) -> str:
    """What was given, in a word; never the thing itself, which may hold a password."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
