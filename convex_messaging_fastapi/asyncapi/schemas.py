"""JSON Schemas of message types, in the draft that AsyncAPI takes, as the wire has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from convex_messaging_fastapi.messages.marking import is_written_as_number

Mode = Literal["validation", "serialization"]
"""As pydantic has it: what is read, and what is written."""

Schema = dict[str, Any]

SCHEMAS = "#/components/schemas/"


class Described(NamedTuple):
    """`schemas` are those of the types, in their order, `None` where there is none; they refer to `named`."""

    schemas: list[Schema | None]
    named: dict[str, Schema]


def schemas_of(types: Sequence[tuple[Any, Mode]]) -> Described:
    """All at once, so that one type has one name, and two of the same name have two."""
    numbered = list(enumerate(types))
    try:
        found, named = _generated(numbered)
    except Exception:  # noqa: BLE001 - a type's own hooks may raise anything
        found, named = _generated([each for each in numbered if _has_schema(*each[1])])
    names = _names_of_pairs(named)
    return Described(
        [_renamed(found.get(number), names) for number, _ in numbered],
        {names.get(name, name): _renamed(schema, names) for name, schema in named.items()},
    )


_Numbered = Sequence[tuple[int, tuple[Any, Mode]]]


def _generated(types: _Numbered) -> tuple[dict[int, Schema], dict[str, Schema]]:
    by_number, whole = TypeAdapter.json_schemas(
        [(number, mode, TypeAdapter(kind)) for number, (kind, mode) in types],
        ref_template=SCHEMAS + "{model}",
        schema_generator=_Generator,
    )
    return (
        {number: in_draft_7(schema) for (number, _), schema in by_number.items()},
        {name: in_draft_7(schema) for name, schema in whole.get("$defs", {}).items()},
    )


def _has_schema(kind: Any, mode: Mode) -> bool:
    try:
        TypeAdapter(kind).json_schema(mode=mode, schema_generator=_Generator)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _names_of_pairs(named: Mapping[str, Schema]) -> dict[str, str]:
    """One name for a type that is read as it is written.

    Pydantic knows that of types that refer to themselves only when it is too late.
    """
    both = {name.removesuffix(_READ) for name in named if name.endswith(_READ)}
    both = {name for name in both if name + _WRITTEN in named}
    while True:
        names = {name + suffix: name for name in both for suffix in (_READ, _WRITTEN)}
        differ = {
            name
            for name in both
            if _renamed(named[name + _READ], names) != _renamed(named[name + _WRITTEN], names)
        }
        if not differ:
            return names
        both -= differ


_READ, _WRITTEN = "-Input", "-Output"


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """With other names in its references."""
    if isinstance(schema, list):
        return [_renamed(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).removeprefix(SCHEMAS)
    if name in names:
        return {**schema, "$ref": SCHEMAS + names[name]}
    return {keyword: _renamed(value, names) for keyword, value in schema.items()}


class _Generator(GenerateJsonSchema):
    """Shows numbers where messages have numbers, and no titles that only repeat the names of fields."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        if not is_written_as_number(schema):
            return super().decimal_schema(schema)
        given: dict[str, Any] = {**schema}
        bounds: dict[str, Any] = {
            name: _number(given[name]) for name in _BOUNDS if given.get(name) is not None
        }
        return self.float_schema(core_schema.float_schema(**bounds))

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Decimal) and dft.is_finite():
            return _number(dft)
        return super().encode_default(dft)

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {"description": "No JSON Schema tells what this may be."}


_BOUNDS = ("ge", "gt", "le", "lt", "multiple_of")


def _number(value: Decimal | float) -> float:
    return int(value) if value == int(value) else float(value)


def in_draft_7(schema: Any) -> Any:
    """The same in the words of draft 7: pydantic writes a later one."""
    if not isinstance(schema, Mapping):
        return schema
    said = {keyword: _inside(keyword)(value) for keyword, value in schema.items()}
    if "prefixItems" in said:
        if "items" in said:
            said["additionalItems"] = said["items"]
        said["items"] = said.pop("prefixItems")
    if isinstance(said.get("discriminator"), Mapping):
        said["discriminator"] = said["discriminator"]["propertyName"]
    if "$ref" in said and len(said) > 1:
        # Draft 7 ignores whatever stands beside a reference.
        said = {"allOf": [{"$ref": said.pop("$ref")}], **said}
    return said


def _inside(keyword: str) -> Callable[[Any], Any]:
    if keyword in _OF_ONE:
        return in_draft_7
    if keyword in _OF_MANY:
        return lambda schemas: [in_draft_7(each) for each in schemas]
    if keyword in _BY_NAME:
        return lambda schemas: {name: in_draft_7(each) for name, each in schemas.items()}
    return lambda value: value


_OF_ONE = frozenset(
    {"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"}
)
_OF_MANY = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_BY_NAME = frozenset({"properties", "patternProperties"})
