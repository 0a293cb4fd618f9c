"""Finds secrets that would be written as stars: the value would be lost, and nobody told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import Secret, SecretBytes, SecretStr, TypeAdapter

SECRETS = (SecretStr, SecretBytes, Secret)

MENDED_BY = (
    "it would be written as stars, and its value lost. Give the field a serialiser of its own "
    "(@field_serializer) that says what is to be written, or make it plain text if its readers may see it"
)

_NOT_SCHEMAS = frozenset({"metadata", "default", "config", "expected", "members"})


def secret_in(schema: Any, resolve: Callable[[Mapping[str, Any]], Any] | None = None) -> bool:
    """Whether `schema` holds a secret, at any depth, for which nothing but stars is written.

    `resolve` follows references; without it they are followed by the definitions in the schema itself.
    """
    definitions: dict[str, Any] = {}
    follow = resolve or (lambda node: definitions.get(node["schema_ref"]))
    waiting, seen = [schema], set[int]()
    while waiting:
        node = waiting.pop()
        if isinstance(node, list | tuple):
            waiting.extend(node)
        elif isinstance(node, Mapping) and id(node) not in seen:
            seen.add(id(node))
            function = _serialiser_of(node)
            if function in _writing_stars():
                return True
            if node.get("type") == "definitions":
                definitions.update({definition["ref"]: definition for definition in node["definitions"]})
            if node.get("type") == "definition-ref":
                waiting.append(_followed(node, follow))
            elif function is None:
                waiting.extend(child for name, child in node.items() if name not in _NOT_SCHEMAS)
    return False


def _serialiser_of(node: Mapping[str, Any]) -> Any:
    """The function that writes it, if there is one."""
    serialization = node.get("serialization")
    return serialization.get("function") if isinstance(serialization, Mapping) else None


def _followed(node: Mapping[str, Any], follow: Callable[[Mapping[str, Any]], Any]) -> Any:
    try:
        return follow(node)
    except LookupError:
        return None  # still being described: it is asked itself when it is


@lru_cache(maxsize=1)
def _writing_stars() -> frozenset[Any]:
    """Pydantic's own serialisers of secrets, learnt from its schemas."""
    found = set[Any]()
    for kind in (SecretStr, SecretBytes, Secret[int]):
        waiting: list[Any] = [TypeAdapter(kind).core_schema]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Mapping):
                found.add(_serialiser_of(node))
                waiting.extend(child for name, child in node.items() if name not in _NOT_SCHEMAS)
    return frozenset(found - {None})
