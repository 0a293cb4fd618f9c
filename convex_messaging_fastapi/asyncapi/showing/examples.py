"""An example of what a schema allows, as the page shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from convex_messaging_fastapi.asyncapi.reading import Document
from convex_messaging_fastapi.asyncapi.shapes import Shape, alternatives, shape_of
from convex_messaging_fastapi.messages.durations import PATTERN as DURATION

_BY_FORMAT = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00",
    "duration": "PT30S",
    "uuid": "6f1c2a3e-9d7b-4c58-8a41-0e5d2b7f9c10",
    "byte": "AQID",
    "email": "ada@example.com",
    "uri": "https://example.com/",
}


def example_of(schema: Any, document: Document, within: tuple[str, ...] = ()) -> Any:
    """`within` names the types that it is inside of: those are not shown a second time."""
    whole = shape_of(schema, document)
    shapes = alternatives(whole, document)
    shown = next((each for each in shapes if each.type != "null" and each.name not in within), shapes[0])
    for said in (whole.schema, shown.schema):
        if said.get("examples"):
            return said["examples"][0]
    if shown.values is not None:
        return next(iter(shown.values), None)
    return _of_type(shown, document, (*within, shown.name) if shown.name else within)


def _of_type(shape: Shape, document: Document, within: tuple[str, ...]) -> Any:
    match shape.type:
        case "object":
            return _object(shape, document, within)
        case "array":
            return _array(shape, document, within)
        case "string":
            return _string(shape)
        case "integer" | "number":
            return _number(shape)
        case "boolean":
            return True
        case "null":
            return None
    return {}


def _object(shape: Shape, document: Document, within: tuple[str, ...]) -> Any:
    fields = shape.schema.get("properties", {})
    shown = {
        name: example_of(said, document, within)
        for name, said in fields.items()
        if _ends(said, document, within)
    }
    others = shape.schema.get("additionalProperties")
    if not fields and isinstance(others, dict):
        return {"name": example_of(others, document, within)}
    return shown


def _array(shape: Shape, document: Document, within: tuple[str, ...]) -> Any:
    items = shape.schema.get("items", True)
    if isinstance(items, list):
        return [example_of(each, document, within) for each in items]
    if not _ends(items, document, within):
        return []
    return [example_of(items, document, within)] * max(1, shape.schema.get("minItems", 1))


def _ends(schema: Any, document: Document, within: tuple[str, ...]) -> bool:
    """Whether it can be shown without a type that it is inside of."""
    shapes = alternatives(shape_of(schema, document), document)
    return any(not each.name or each.name not in within for each in shapes)


def _string(shape: Shape) -> str:
    if shape.schema.get("pattern") == f"^{DURATION}$":
        return "00:00:30"
    if (form := shape.schema.get("format")) in _BY_FORMAT:
        return _BY_FORMAT[form]
    least, most = shape.schema.get("minLength", 0), shape.schema.get("maxLength", 1_000)
    return "text".ljust(least, "-")[:most]


def _number(shape: Shape) -> float:
    schema: Mapping[str, Any] = shape.schema
    step = shape.schema.get("multipleOf", 1)
    least = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + step)
    most = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - step)
    wanted: float = min(max(step, least), most)
    fitting: float = wanted if wanted % step == 0 else math.ceil(wanted / step) * step
    return fitting
