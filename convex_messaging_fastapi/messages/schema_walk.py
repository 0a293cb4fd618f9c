"""The one way through pydantic's core schemas, for everything that reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
Resolve = Callable[[Any], Any]

_NOT_SCHEMAS = frozenset({"metadata", "default", "serialization", "config", "expected", "members"})


class Walk:
    """Goes through a schema. `resolve` follows references; without it the definitions met so far do."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._definitions: dict[str, Any] = {}
        self._resolve = resolve or (lambda node: self._definitions[node["schema_ref"]])

    def below(self, schema: Any, enters: Callable[[Schema], bool] = lambda _node: True) -> Iterator[Schema]:
        """`schema` and every node in it, each once, but not inside a node that `enters` refuses."""
        waiting, seen = [schema], set[int]()
        while waiting:
            node = waiting.pop()
            if isinstance(node, list | tuple):
                waiting.extend(node)
            elif isinstance(node, Mapping) and id(node) not in seen:
                seen.add(id(node))
                yield node
                if enters(node):
                    waiting.extend(self.children(node))

    def children(self, node: Schema) -> list[Any]:
        """The nodes directly in a node; for a reference the node it refers to."""
        kind = node.get("type")
        if kind == "definitions":
            self._definitions.update({definition["ref"]: definition for definition in node["definitions"]})
            return [node["schema"]]
        if kind == "definition-ref":
            return self.followed(node)
        if not isinstance(kind, str):  # a model's dict of fields
            return list(node.values())
        return [child for name, child in node.items() if name not in _NOT_SCHEMAS]

    def followed(self, reference: Schema) -> list[Any]:
        try:
            return [self._resolve(reference)]
        except LookupError:
            return []  # a type that is still being described, and contains this one


def fields_of(node: Schema) -> list[tuple[str, Any]]:
    """The fields of a node, by name."""
    fields = node["fields"]
    return (
        list(fields.items()) if isinstance(fields, Mapping) else [(field["name"], field) for field in fields]
    )


def takes_anything_extra(node: Schema, by_configuration: bool) -> bool:
    """Whether it takes fields of any name and type; `by_configuration`: the model around it does."""
    if node.get("type") not in _WITH_EXTRAS or "extras_schema" in node:
        return False
    return bool(node.get("extra_behavior", "allow" if by_configuration else "") == "allow")


_WITH_EXTRAS = frozenset({"model-fields", "typed-dict"})
"""Kinds of schema whose extra fields are written."""


def is_written_as_it_is(node: Schema) -> bool:
    """Whether its values are written by their own type, whatever the schema says: `SerializeAsAny`."""
    serialization = node.get("serialization")
    return isinstance(serialization, Mapping) and serialization.get("type") == "any"


def serialiser_of(node: Schema) -> Any:
    """The function that writes what the node describes, if there is one."""
    serialization = node.get("serialization")
    return serialization.get("function") if isinstance(serialization, Mapping) else None


def writes_as_it_likes(node: Schema) -> bool:
    """Whether a function decides how it is written, and not pydantic by the schemas inside.

    Pydantic's own wrappers, as of a `Sequence`, only call those.
    """
    function = serialiser_of(node)
    return function is not None and not (
        node["serialization"]["type"] == "function-wrap"
        and str(getattr(function, "__module__", "")).startswith("pydantic.")
    )
