"""Changes one model's schema so that its fields are written and read as .NET services write and read them.

Decimals become numbers, bytes base64, and durations .NET's form, also in fields that take any value. Fields
with a serialiser of their own and models that encode themselves stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from pydantic_core import PydanticSerializationUnexpectedValue, core_schema

from convex_messaging_fastapi.messages.coercion import COERCED, give_way_to_text, is_coerced
from convex_messaging_fastapi.messages.decimals import marked, wants_numbers
from convex_messaging_fastapi.messages.plain import as_written_in_message
from convex_messaging_fastapi.messages.schema_walk import (
    Resolve,
    Walk,
    is_written_as_it_is,
    serialiser_of,
    takes_anything_extra,
    writes_as_it_likes,
)

Config = Mapping[str, Any]

_SET_BY = {
    "bytes": ("ser_json_bytes", "val_json_bytes"),
    "timedelta": ("ser_json_timedelta", "ser_json_temporal"),
}
"""A subclass that sets one of these decides itself how it is written."""


def mark_fields(
    model: core_schema.CoreSchema, resolve: Resolve, config: Config, visited: Callable[[Any], None]
) -> None:
    """Change the schema of one model in place, and show every node of it that is not another model's."""
    _Marking(Walk(resolve), config, visited).fields_of(model)


def is_written_as_number(node: Config) -> bool:
    """Whether this decimal is one of a message's, and so a number on the wire; pydantic shows a text."""
    return serialiser_of(node) is _write_decimal


class _Marking:
    """One walk, which ends where another model begins."""

    def __init__(self, walk: Walk, config: Config, visited: Callable[[Any], None]) -> None:
        self._walk = walk
        self._is_strict = bool(config.get("strict"))
        self._takes_extras = config.get("extra") == "allow"
        self._coerced = {
            kind: coerce
            for kind, coerce in COERCED.items()
            if not any(name in config for name in _SET_BY[kind])
        }
        self._visited = visited
        self._seen: set[tuple[int, bool]] = set()

    def fields_of(self, model: Any) -> None:
        theirs = writes_as_it_likes(model)
        for child in self._walk.children(model):
            self._visit(child, theirs)

    def _visit(self, node: Any, theirs: bool) -> None:
        """`theirs`: a serialiser of the user's decides, somewhere around it, and expects pydantic's text."""
        if isinstance(node, list | tuple):
            for child in node:
                self._visit(child, theirs)
        elif isinstance(node, dict) and (id(node), theirs) not in self._seen:
            self._seen.add((id(node), theirs))
            self._visit_schema(node, theirs)

    def _visit_schema(self, node: dict[str, Any], theirs: bool) -> None:
        kind = node.get("type")
        if not isinstance(kind, str):  # a dict of fields, one of which has this name
            self._visit_inside(node, theirs)
            return
        self._visited(node)
        if kind == "decimal":
            node.setdefault("serialization", _DECIMAL)
        elif kind == "any":
            node.setdefault("serialization", _ANYTHING)
        elif kind in self._coerced and not theirs:
            if "serialization" not in node:
                self._coerced[kind](node, bool(node.get("strict", self._is_strict)))
        elif not is_coerced(node):
            if not _encodes_itself(node):
                _spell_out(node, self._takes_extras)
                self._visit_inside(node, theirs or kind == "json" or writes_as_it_likes(node))
            if is_written_as_it_is(node) and not theirs:
                node["serialization"] = _AS_IT_IS

    def _visit_inside(self, node: dict[str, Any], theirs: bool) -> None:
        for child in self._walk.children(node):
            self._visit(child, theirs)
        if node.get("type") == "union":
            give_way_to_text(node["choices"])
        if not theirs and isinstance(node.get("serialization"), Mapping):
            self._visit(node["serialization"].get("schema"), theirs)


def _encodes_itself(node: dict[str, Any]) -> bool:
    """Whether this is another model, whose own serialiser decides how it is written."""
    return node.get("type") in ("model", "dataclass") and hasattr(node.get("cls"), "__pydantic_serializer__")


_ITEMS = frozenset({"list", "set", "frozenset", "deque"})


def _spell_out(node: dict[str, Any], takes_extras: bool) -> None:
    """Spell out the type "anything" in `dict`, `list` and extras, so that it can have a serialiser."""
    if takes_anything_extra(node, takes_extras):
        node["extras_schema"] = core_schema.any_schema()
    if node.get("type") == "dict":
        node.setdefault("values_schema", core_schema.any_schema())
    elif node.get("type") in _ITEMS:
        node.setdefault("items_schema", core_schema.any_schema())


def _write_decimal(value: Any, info: core_schema.SerializationInfo) -> str:
    if not isinstance(value, Decimal):
        raise PydanticSerializationUnexpectedValue(f"expected a Decimal, not {type(value).__name__}")
    return marked(value) if wants_numbers(info.context) else str(value)


def _write_anything(
    value: Any, handler: core_schema.SerializerFunctionWrapHandler, info: core_schema.SerializationInfo
) -> Any:
    return handler(as_written_in_message(value) if wants_numbers(info.context) else value)


_DECIMAL = core_schema.plain_serializer_function_ser_schema(_write_decimal, info_arg=True, when_used="json")
_AS_IT_IS = core_schema.wrap_serializer_function_ser_schema(
    _write_anything, info_arg=True, schema=core_schema.any_schema(), when_used="json"
)
_ANYTHING = core_schema.wrap_serializer_function_ser_schema(_write_anything, info_arg=True, when_used="json")
