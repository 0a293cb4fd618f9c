"""What a schema allows, as alternatives that can be compared and named in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from convex_messaging_fastapi.asyncapi.reading import Document, NoDocument

Schema = Mapping[str, Any]

ANYTHING = "anything"
_UNIONS = ("anyOf", "oneOf")
_OF_THE_UNION = ("title", "description", "default", "examples", "deprecated")
"""What stands beside alternatives, and says something of all of them."""


class Shape(NamedTuple):
    """One alternative; `name` is that of the definition it comes from, or nothing."""

    name: str
    schema: Schema

    @property
    def type(self) -> str:
        said = self.schema.get("type")
        if isinstance(said, str):
            return said
        if self.values is not None:
            return "value"
        return "object" if "properties" in self.schema else ANYTHING

    @property
    def values(self) -> list[Any] | None:
        """Those that it allows, where it names them."""
        if "const" in self.schema:
            return [self.schema["const"]]
        values = self.schema.get("enum")
        return list(values) if isinstance(values, list) else None

    @property
    def kind(self) -> str:
        """In a word, without what is inside."""
        if self.type == "object" and (self.name or "title" in self.schema):
            return str(self.schema.get("title", self.name))
        if self.type == "value":
            return in_words(map(told, self.values or []))
        form = self.schema.get("format")
        return f"{self.type} ({form})" if form else self.type

    def is_within(self, other: Shape) -> bool:
        """Whether all that it allows is allowed by the other, as far as their types tell."""
        if other.type == ANYTHING or (self.type, other.type) == ("integer", "number"):
            return True
        if self.type != other.type or self.type in ("object", "array"):
            return False
        return other.schema.get("format") in (None, self.schema.get("format")) and other.values is None


def shape_of(schema: Any, document: Document) -> Shape:
    """With the references in it followed, and `allOf` taken for one schema."""
    name, found = document.resolved(schema)
    if found is True:
        return Shape(name, {})
    if not isinstance(found, Mapping):
        raise NoDocument(f"a schema in it is {told(found)}")
    if "allOf" not in found:
        return Shape(name, found)
    merged: dict[str, Any] = {}
    for part in found["allOf"]:
        inner = shape_of(part, document)
        name, merged = name or inner.name, {**merged, **inner.schema}
    return Shape(name, {**merged, **{keyword: said for keyword, said in found.items() if keyword != "allOf"}})


def alternatives(shape: Shape, document: Document) -> list[Shape]:
    """One, or those of a union and of unions in it."""
    schema = shape.schema
    for union in _UNIONS:
        if union in schema:
            return [
                inner for each in schema[union] for inner in alternatives(shape_of(each, document), document)
            ]
    if isinstance(types := schema.get("type"), list):
        return [Shape(shape.name, {**schema, "type": each}) for each in types]
    return [shape]


def around(shape: Shape) -> Schema:
    """What is said of a union as a whole."""
    return {keyword: shape.schema[keyword] for keyword in _OF_THE_UNION if keyword in shape.schema}


def in_words(kinds: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(kinds))


def told(value: Any) -> str:
    """A JSON value, short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}..."
