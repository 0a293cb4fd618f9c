"""Compares two documents: topics, messages, handlers, and what is said of the whole.

Servers are left out: a laptop, a build and production each have their own, and one document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convex_messaging_fastapi.asyncapi.comparing.change import Change
from convex_messaging_fastapi.asyncapi.comparing.schemas import Comparing
from convex_messaging_fastapi.asyncapi.messages import HEADERS_NAME
from convex_messaging_fastapi.asyncapi.reading import Direction, Document, Message, NoDocument
from convex_messaging_fastapi.asyncapi.shapes import told


def changes(before: Any, after: Any) -> list[Change]:
    """All that differs, in the order of topics; nothing if only servers differ, or the order of keys.

    Raises `NoDocument` for what is no AsyncAPI document of version 3.
    """
    old, new = Document(before), Document(after)
    try:
        found = [
            *_of_the_whole(old, new),
            *_channels(old, new),
            *_messages(old, new),
            *_operations(old, new),
        ]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, NoDocument):
            raise
        raise NoDocument(f"a part of it has another form than AsyncAPI gives it: {error}") from error
    if not found and (place := _place(_compared(old.whole), _compared(new.whole))) is not None:
        found.append(Change("told_differently", f"{place} changed"))
    return found


def _of_the_whole(old: Document, new: Document) -> Iterator[Change]:
    for name in ("asyncapi", "defaultContentType"):
        yield from _facts(old.whole, new.whole, (name,), None)
    was, now = old.whole.get("info", {}), new.whole.get("info", {})
    yield from _facts(was, now, dict.fromkeys((*was, *now)), None, "the ")
    headers = [each.whole.get("components", {}).get("schemas", {}).get(HEADERS_NAME) for each in (old, new)]
    if all(headers) and headers[0] != headers[1]:
        yield Change("told_differently", "the headers of every message read differently")


def _channels(old: Document, new: Document) -> Iterator[Change]:
    for topic in _both(old.channels, new.channels):
        was, now = (each.channels[topic].get("address") for each in (old, new))
        if was != now:
            sentence = f"its name in the cluster is {told(now)}, and was {told(was)}"
            yield Change("topic_renamed", sentence, True, topic)
        rest = [{**each.channels[topic], "address": None, "messages": None} for each in (old, new)]
        if rest[0] != rest[1] and was == now:
            yield Change("told_differently", "what is said of the topic changed", topic=topic)


def _messages(old: Document, new: Document) -> Iterator[Change]:
    was, now = old.messages(), new.messages()
    for direction, topic in sorted({*was, *now}, key=lambda each: (each[1], each[0])):
        place = (direction, topic)
        if place not in now:
            yield Change("topic_removed", f"nothing is {direction} any more", True, topic, direction)
        elif place not in was:
            yield Change("topic_added", f"is {direction} from now on", False, topic, direction)
        else:
            yield from _of_a_topic(Comparing(old, new), was[place], now[place], topic, direction)


def _of_a_topic(
    comparing: Comparing,
    olds: Mapping[str, Message],
    news: Mapping[str, Message],
    topic: str,
    direction: Direction,
) -> Iterator[Change]:
    pairs = _paired(olds, news)
    for key, message in olds.items():
        if key not in pairs:
            sentence = f"is no longer {direction}"
            yield Change("message_removed", sentence, True, topic, direction, message.name)
    for key, message in news.items():
        if key not in pairs.values():
            sentence = f"is {direction} as well"
            yield Change("message_added", sentence, False, topic, direction, message.name)
    for was, now in pairs.items():
        yield from _of_a_message(comparing, olds[was], news[now], topic, direction)


def _paired(olds: Mapping[str, Message], news: Mapping[str, Message]) -> dict[str, str]:
    """By their names on the wire; where several have one name, by their keys first."""
    pairs = {key: key for key in olds if key in news and olds[key].name == news[key].name}
    for key, message in olds.items():
        if key not in pairs:
            same = (other for other, each in news.items() if each.name == message.name)
            if (free := next((other for other in same if other not in pairs.values()), None)) is not None:
                pairs[key] = free
    return pairs


def _of_a_message(
    comparing: Comparing, old: Message, new: Message, topic: str, direction: Direction
) -> Iterator[Change]:
    for each in comparing.between(old.said.get("payload", True), new.said.get("payload", True)):
        breaks = each.narrows if direction == "received" else each.widens
        sentence = f"field {each.field} {each.sentence}" if each.field else f"the message {each.sentence}"
        yield Change(each.kind, sentence, breaks, topic, direction, new.name, each.field or None)
    was, now = old.said.get("contentType"), new.said.get("contentType")
    if was != now:
        sentence = f"its content type is {told(now)}, and was {told(was)}"
        yield Change("content_type_changed", sentence, True, topic, direction, new.name)
    for name in dict.fromkeys((*old.said, *new.said)):
        if name not in ("payload", "contentType", "name") and old.said.get(name) != new.said.get(name):
            sentence = f"its {name} changed"
            yield Change("told_differently", sentence, False, topic, direction, new.name)


def _operations(old: Document, new: Document) -> Iterator[Change]:
    """What sends and receives it; messages were told already."""
    for key in old.operations:
        if key not in new.operations:
            yield Change("told_differently", f"operation {key} is gone")
    for key in new.operations:
        if key not in old.operations:
            yield Change("told_differently", f"operation {key} is new")
    for key in _both(old.operations, new.operations):
        was, now = _choices(old.operations[key]), _choices(new.operations[key])
        yield from _facts(was, now, dict.fromkeys((*was, *now)), None, f"operation {key}: ")


def _choices(operation: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of an operation, each thing by a word."""
    kafka = operation.get("bindings", {}).get("kafka", {})
    names = {"groupId": "group", "clientId": "client id", "bindingVersion": "binding version"}
    bound = {names.get(name, name): _only(said) for name, said in kafka.items()}
    plain = {
        name: said for name, said in operation.items() if name not in ("messages", "bindings", "x-convex")
    }
    return {**plain, **bound, **operation.get("x-convex", {})}


def _only(said: Any) -> Any:
    values = said.get("enum", []) if isinstance(said, Mapping) else []
    return values[0] if len(values) == 1 else said


def _facts(
    old: Mapping[str, Any], new: Mapping[str, Any], names: Any, topic: str | None, before: str = ""
) -> Iterator[Change]:
    for name in names:
        was, now = old.get(name), new.get(name)
        if was != now:
            yield Change(
                "told_differently", f"{before}{name} is {told(now)}, and was {told(was)}", topic=topic
            )


def _both(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return sorted({*old} & {*new})


def _compared(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Without servers, and how to log in there."""
    components = {
        name: said for name, said in whole.get("components", {}).items() if name != "securitySchemes"
    }
    return {**{name: said for name, said in whole.items() if name != "servers"}, "components": components}


def _place(old: Any, new: Any, path: str = "") -> str | None:
    """The first place at which they differ; `None` where they do not."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = (_place(old.get(key), new.get(key), f"{path}/{key}") for key in dict.fromkeys((*old, *new)))
        return next((place for place in found if place is not None), None)
    return None if old == new else path or "/"
