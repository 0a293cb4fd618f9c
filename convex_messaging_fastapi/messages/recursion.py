"""Finds the unions that make a small message dear: each level of them is read once by every member.

Pydantic tries the members of a union one by one, unless a discriminator names one. Where a member holds the
same union again, that doubles with every level: 361 bytes took four seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_NOT_SCHEMAS = frozenset({"metadata", "default", "serialization", "config", "expected", "members"})

_OBJECT, _ARRAY = "object", "array"
_ANYTHING = frozenset({_OBJECT, _ARRAY})

_TAKES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        ("model-fields", "dataclass", "dataclass-args", "typed-dict", "dict"), frozenset({_OBJECT})
    ),
    **dict.fromkeys(("list", "tuple", "set", "frozenset", "generator"), frozenset({_ARRAY})),
    **dict.fromkeys(("none", "bool", "int", "float", "decimal", "complex", "str", "bytes"), frozenset()),
    **dict.fromkeys(("date", "time", "datetime", "timedelta", "uuid", "url", "multi-host-url"), frozenset()),
    **dict.fromkeys(("literal", "enum", "json"), frozenset()),
}
"""Which of JSON's containers each kind of schema reads. What stands in neither table may read both."""

_SEEN_THROUGH = frozenset(
    {
        *("model", "nullable", "default", "function-after", "lax-or-strict", "json-or-python"),
        *("union", "tagged-union", "definitions"),
    }
)
"""Kinds that read what the schemas in them read."""


def ambiguous_recursion(schema: Schema) -> str | None:
    """The members of a union that can be reached from itself, and two of which read the same containers."""
    walk = _Walk()
    for node in walk.below(schema):
        if node.get("type") == "union" and walk.is_ambiguous(node):
            return " | ".join(map(_name_of, _choices(node)))
    return None


class _Walk:
    """One schema, with the definitions that have been met in it."""

    def __init__(self) -> None:
        self._definitions: dict[str, Any] = {}

    def below(self, schema: Any) -> Iterator[Schema]:
        """`schema` and everything in it, each once, references followed."""
        waiting, seen = [schema], set[int]()
        while waiting:
            node = waiting.pop()
            if isinstance(node, list | tuple):
                waiting.extend(node)
            elif isinstance(node, Mapping) and id(node) not in seen:
                seen.add(id(node))
                yield node
                waiting.extend(self._children(node))

    def is_ambiguous(self, union: Schema) -> bool:
        """Whether two members may take one container, and one of them holds the union again."""
        taken = [(self._takes(choice, frozenset()), choice) for choice in _choices(union)]
        return any(
            self._takes_it_from(takes, taken, choice) and any(node is union for node in self.below(choice))
            for takes, choice in taken
        )

    def _takes_it_from(
        self, takes: frozenset[str], others: Iterable[tuple[frozenset[str], Any]], choice: Any
    ) -> bool:
        return any(takes & theirs for theirs, other in others if other is not choice)

    def _takes(self, node: Any, seen: frozenset[int]) -> frozenset[str]:
        if not isinstance(node, Mapping) or id(node) in seen:
            return frozenset()
        seen |= {id(node)}
        kind = str(node.get("type"))
        if kind == "definition-ref":
            return self._takes(self._definitions.get(node["schema_ref"]), seen)
        if kind in _SEEN_THROUGH:
            inner = (self._takes(child, seen) for child in self._direct(node, kind))
            return frozenset[str]().union(*inner)
        return _TAKES.get(kind, _ANYTHING)

    def _direct(self, node: Schema, kind: str) -> Iterable[Any]:
        """The schemas that read the same value as `node`."""
        if kind == "union":
            return _choices(node)
        if kind == "tagged-union":
            return list(node["choices"].values())
        names = ("schema", "lax_schema", "strict_schema", "json_schema", "python_schema")
        return [node[name] for name in names if name in node]

    def _children(self, node: Schema) -> Iterable[Any]:
        if node.get("type") == "definitions":
            self._definitions.update({definition["ref"]: definition for definition in node["definitions"]})
        if node.get("type") == "definition-ref":
            return (self._definitions.get(node["schema_ref"]),)
        return [child for name, child in node.items() if name not in _NOT_SCHEMAS]


def _choices(union: Schema) -> list[Any]:
    return [choice[0] if isinstance(choice, tuple) else choice for choice in union["choices"]]


def _name_of(schema: Schema) -> str:
    """What a reader calls it: the class's name, or the kind of schema."""
    if "cls" in schema:
        return str(schema["cls"].__name__)
    if "schema_ref" in schema:
        return str(schema["schema_ref"]).partition(":")[0].rpartition(".")[2]
    return str(schema.get("type"))
