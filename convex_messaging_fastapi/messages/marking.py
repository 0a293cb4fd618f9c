"""Finds the decimals in one model's schema, and whatever may hold some, and has them written as numbers."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from pydantic_core import PydanticSerializationUnexpectedValue, core_schema

from convex_messaging_fastapi.messages.decimals import marked, wants_numbers
from convex_messaging_fastapi.messages.plain import as_written

Resolve = Callable[[Any], Any]


def mark_decimals(model: core_schema.CoreSchema, resolve: Resolve) -> None:
    """Change the schema of one model in place; models inside it decide for themselves."""
    _Marking(resolve).fields_of(model)


class _Marking:
    """Gives the decimals of one model's schema, and whatever may hold some, a serialiser of ours."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._seen: set[int] = set()

    def fields_of(self, model: Any) -> None:
        self._children(model)

    def _visit(self, node: Any) -> None:
        if isinstance(node, list | tuple):
            for child in node:
                self._visit(child)
        elif isinstance(node, dict) and id(node) not in self._seen:
            self._seen.add(id(node))
            self._visit_schema(node)

    def _visit_schema(self, node: dict[str, Any]) -> None:
        kind = node.get("type")
        if kind == "definition-ref":
            self._visit_definition(node)
        elif kind == "decimal":
            node.setdefault("serialization", _DECIMAL)
        elif kind == "any":
            node.setdefault("serialization", _ANYTHING)
        elif not _encodes_itself(node):
            _spell_out(node)
            self._children(node)

    def _visit_definition(self, node: Any) -> None:
        try:
            self._visit(self._resolve(node))
        except LookupError:
            return  # a type that is still being described: it contains this model, not the other way

    def _children(self, node: dict[str, Any]) -> None:
        for name, child in node.items():
            if name not in _NOT_SCHEMAS:
                self._visit(child)


_NOT_SCHEMAS = frozenset({"metadata", "default", "serialization", "config", "expected", "members"})


def _encodes_itself(node: dict[str, Any]) -> bool:
    """Whether this is another model, whose own serialiser decides how it is written."""
    return node.get("type") in ("model", "dataclass") and hasattr(node.get("cls"), "__pydantic_serializer__")


def _spell_out(node: dict[str, Any]) -> None:
    """`dict` and `list` without parameters hold anything: say so, where a serialiser can be hung."""
    if node.get("type") == "dict":
        node.setdefault("values_schema", core_schema.any_schema())
    elif node.get("type") in ("list", "set", "frozenset"):
        node.setdefault("items_schema", core_schema.any_schema())


def _write_decimal(value: Any, info: core_schema.SerializationInfo) -> str:
    if not isinstance(value, Decimal):
        raise PydanticSerializationUnexpectedValue(f"expected a Decimal, not {type(value).__name__}")
    return marked(value) if wants_numbers(info.context) else str(value)


def _write_anything(
    value: Any, handler: core_schema.SerializerFunctionWrapHandler, info: core_schema.SerializationInfo
) -> Any:
    return handler(as_written(value) if wants_numbers(info.context) else value)


_DECIMAL = core_schema.plain_serializer_function_ser_schema(_write_decimal, info_arg=True, when_used="json")
_ANYTHING = core_schema.wrap_serializer_function_ser_schema(_write_anything, info_arg=True, when_used="json")
