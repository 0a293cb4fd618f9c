"""Reads a document that somebody may have written by hand, or with another program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

Direction = Literal["received", "sent"]


class NoDocument(ValueError):
    """What was given is no AsyncAPI document of version 3; its text says why."""


class Message(NamedTuple):
    """A message as one direction of one topic has it."""

    key: str
    name: str
    said: Mapping[str, Any]


DIRECTIONS: dict[str, Direction] = {"receive": "received", "send": "sent"}


class Document:
    """A document whose references are followed. Whatever it lacks raises `NoDocument`."""

    def __init__(self, whole: Any) -> None:
        if not isinstance(whole, Mapping) or not str(whole.get("asyncapi", "")).startswith("3."):
            raise NoDocument("it has no line `asyncapi` of version 3")
        self.whole: Mapping[str, Any] = whole
        self.channels: Mapping[str, Any] = self._part("channels")
        self.operations: Mapping[str, Any] = self._part("operations")

    def __getitem__(self, reference: str) -> Any:
        found: Any = self.whole
        for step in reference.removeprefix("#/").split("/"):
            try:
                found = found[step.replace("~1", "/").replace("~0", "~")]
            except (KeyError, TypeError):
                raise NoDocument(f"it refers to {reference!r}, which is not in it") from None
        return found

    def resolved(self, said: Any) -> tuple[str, Any]:
        """The name of what this is a reference to, or nothing, and the thing itself."""
        name = ""
        seen = set[str]()
        while isinstance(said, Mapping) and isinstance(reference := said.get("$ref"), str):
            if reference in seen:
                raise NoDocument(f"it refers to {reference!r}, which refers to itself")
            seen.add(reference)
            name, said = reference.rpartition("/")[2], self[reference]
        return name, said

    def messages(self) -> dict[tuple[Direction, str], dict[str, Message]]:
        """By direction and topic, and then by key."""
        found: dict[tuple[Direction, str], dict[str, Message]] = {}
        for operation in self.operations.values():
            direction = DIRECTIONS.get(_of(operation, "action"))
            if direction is None:
                raise NoDocument(f"an operation has the action {_of(operation, 'action')!r}")
            topic, channel = self.resolved(_of(operation, "channel"))
            spoken = found.setdefault((direction, topic), {})
            for key, said in self._spoken(operation, channel):
                spoken[key] = Message(key, str(said.get("name", key)), said)
        return found

    def _spoken(self, operation: Any, channel: Any) -> Iterator[tuple[str, Any]]:
        """Those that the operation names, or without any all of its channel."""
        named = operation.get("messages")
        references = channel.get("messages", {}).values() if named is None else named
        for reference in references:
            key, said = self.resolved(reference)
            if not isinstance(said, Mapping):
                raise NoDocument(f"its message {key!r} is no object")
            yield key, said

    def _part(self, name: str) -> Mapping[str, Any]:
        part = self.whole.get(name, {})
        if not isinstance(part, Mapping) or not all(isinstance(each, Mapping) for each in part.values()):
            raise NoDocument(f"its {name} are no objects by name")
        return part


def _of(said: Mapping[str, Any], name: str) -> Any:
    if name not in said:
        raise NoDocument(f"an operation has no {name}")
    return said[name]
