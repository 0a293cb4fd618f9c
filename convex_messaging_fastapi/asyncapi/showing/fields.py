"""The fields of a message as rows: the way to each, its type, whether it must be there, and its rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from convex_messaging_fastapi.asyncapi.reading import Document
from convex_messaging_fastapi.asyncapi.shapes import Shape, alternatives, in_words, shape_of


class Row(NamedTuple):
    """One field; `field` is the way to it from the message, `rules` what holds of it, in words."""

    field: str
    type: str
    rules: str
    description: str


_RULES = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "{} or more characters",
    "maxLength": "{} characters at most",
    "minItems": "{} or more items",
    "maxItems": "{} items at most",
    "pattern": "by the pattern {}",
}


def rows_of(schema: Any, document: Document, way: str = "", within: tuple[str, ...] = ()) -> Iterator[Row]:
    """Those of a message and of the types inside it, each type as deep as it does not hold itself."""
    shapes = alternatives(shape_of(schema, document), document)
    has_choice = sum("properties" in each.schema for each in shapes) > 1
    for shape in shapes:
        if shape.name and shape.name in within:
            continue
        inside = (*within, shape.name) if shape.name else within
        before = f"{way} ({shape.kind})" if has_choice else way
        required = shape.schema.get("required", ())
        for name, said in shape.schema.get("properties", {}).items():
            yield from _field(
                said, document, f"{before}.{name}" if before else name, name in required, inside
            )
        yield from _others(shape, document, before, inside)


def type_of(schema: Any, document: Document) -> str:
    """In words, with what is inside an array."""
    return in_words(_kind(each, document) for each in alternatives(shape_of(schema, document), document))


def _field(
    said: Any, document: Document, way: str, is_required: bool, within: tuple[str, ...]
) -> Iterator[Row]:
    whole = shape_of(said, document)
    shapes = alternatives(whole, document)
    rules = [*(["required"] if is_required else []), *(rule for each in shapes for rule in _rules(each))]
    if "default" in whole.schema and not is_required:
        rules.append(f"default {json.dumps(whole.schema['default'], ensure_ascii=False)}")
    description = str(whole.schema.get("description", ""))
    yield Row(way, type_of(said, document), ", ".join(rules), description)
    yield from rows_of(said, document, way, within)


def _others(shape: Shape, document: Document, way: str, within: tuple[str, ...]) -> Iterator[Row]:
    items, others = shape.schema.get("items"), shape.schema.get("additionalProperties")
    if isinstance(items, dict):
        yield from rows_of(items, document, f"{way}[]", within)
    if isinstance(others, dict):
        yield from rows_of(others, document, f"{way}[*]", within)


def _kind(shape: Shape, document: Document) -> str:
    items, others = shape.schema.get("items"), shape.schema.get("additionalProperties")
    if shape.type == "array" and isinstance(items, list):
        return f"[{', '.join(type_of(each, document) for each in items)}]"
    if shape.type == "array":
        return f"array of {type_of(items, document)}" if items else "array"
    if shape.type == "object" and isinstance(others, dict) and "properties" not in shape.schema:
        return f"object of {type_of(others, document)}"
    return shape.kind


def _rules(shape: Shape) -> Iterator[str]:
    if shape.values is not None and shape.type != "value":
        yield f"one of {', '.join(json.dumps(each, ensure_ascii=False) for each in shape.values)}"
    for keyword, words in _RULES.items():
        if keyword in shape.schema:
            yield words.format(shape.schema[keyword])
