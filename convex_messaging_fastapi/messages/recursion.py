"""Finds unions that make a small message expensive: every member reads each level of it.

Pydantic tries the members of a union one by one, unless a discriminator names one. If a member holds the
same union again, the time doubles with every level: 361 bytes took four seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from convex_messaging_fastapi.messages.schema_walk import Schema, Walk

_OBJECT, _ARRAY = "object", "array"
_ANYTHING = frozenset({_OBJECT, _ARRAY})

_TAKES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        ("model-fields", "dataclass", "dataclass-args", "typed-dict", "dict"), frozenset({_OBJECT})
    ),
    **dict.fromkeys(("ordered-dict", "counter", "frozendict"), frozenset({_OBJECT})),
    **dict.fromkeys(("list", "tuple", "set", "frozenset", "deque", "generator"), frozenset({_ARRAY})),
    **dict.fromkeys(("none", "bool", "int", "float", "decimal", "complex", "str", "bytes"), frozenset()),
    **dict.fromkeys(("date", "time", "datetime", "timedelta", "uuid", "url", "multi-host-url"), frozenset()),
    **dict.fromkeys(("literal", "enum", "json"), frozenset()),
}
"""The JSON containers that each kind of schema reads. A kind in neither table may read both."""

_SEEN_THROUGH = frozenset(
    {
        *("model", "nullable", "default", "function-after", "lax-or-strict", "json-or-python"),
        *("union", "tagged-union", "definitions", "definition-ref"),
    }
)
"""Kinds that read what the schemas inside them read."""


def ambiguous_recursion(schema: Schema) -> str | None:
    """The members of a union that contains itself, and two of whose members read the same containers."""
    walk = Walk()
    unions = _Unions(walk)
    for node in walk.below(schema):
        if node.get("type") == "union" and unions.is_ambiguous(node):
            return " | ".join(map(_name_of, _choices(node)))
    return None


class _Unions:
    """The unions of one schema, whose definitions `walk` has met."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    def is_ambiguous(self, union: Schema) -> bool:
        """Whether two members may take the same container, and one of them holds the union again."""
        taken = [(self._takes(choice, frozenset()), choice) for choice in _choices(union)]
        return any(
            self._takes_it_from(takes, taken, choice) and self._holds(choice, union)
            for takes, choice in taken
        )

    def _holds(self, choice: Any, union: Schema) -> bool:
        return any(node is union for node in self._walk.below(choice))

    def _takes_it_from(
        self, takes: frozenset[str], others: Iterable[tuple[frozenset[str], Any]], choice: Any
    ) -> bool:
        return any(takes & theirs for theirs, other in others if other is not choice)

    def _takes(self, node: Any, seen: frozenset[int]) -> frozenset[str]:
        if not isinstance(node, Mapping) or id(node) in seen:
            return frozenset()
        seen |= {id(node)}
        kind = str(node.get("type"))
        if kind in _SEEN_THROUGH:
            inner = (self._takes(child, seen) for child in self._direct(node, kind))
            return frozenset[str]().union(*inner)
        return _TAKES.get(kind, _ANYTHING)

    def _direct(self, node: Schema, kind: str) -> Iterable[Any]:
        """The schemas that read the same value as `node`."""
        if kind == "definition-ref":
            return self._walk.followed(node)
        if kind == "union":
            return _choices(node)
        if kind == "tagged-union":
            return list(node["choices"].values())
        names = ("schema", "lax_schema", "strict_schema", "json_schema", "python_schema")
        return [node[name] for name in names if name in node]


def _choices(union: Schema) -> list[Any]:
    return [choice[0] if isinstance(choice, tuple) else choice for choice in union["choices"]]


def _name_of(schema: Schema) -> str:
    """A name for messages: the class's name, or the kind of schema."""
    if "cls" in schema:
        return str(schema["cls"].__name__)
    if "schema_ref" in schema:
        return str(schema["schema_ref"]).partition(":")[0].rpartition(".")[2]
    return str(schema.get("type"))
