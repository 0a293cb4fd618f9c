"""The names by which a `ConvexMessage` reads its fields; no two fields may read or write the same name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.alias_generators import to_camel, to_pascal
from pydantic.fields import FieldInfo

from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.messages.schema_walk import fields_of

_WITH_FIELDS = frozenset({"model-fields", "typed-dict", "dataclass-args", "named-tuple"})
"""Kinds of schema that read an object into fields."""

_GENERATED = 1
"""Pydantic's priority of an alias that a generator has given."""


class _Field(dict[str, Any]):
    """The schema of a field with several names, which shows Python code only the first.

    Pydantic's validator does not use this method, and so sees all names. Its discriminated unions, which
    take only one name, and its JSON schemas use it.
    """

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        return found[0][0] if key == "validation_alias" and isinstance(found, list) and key in self else found


class Spelling:
    """Respells the fields of one class: those of its own, and of the plain types inside it."""

    def __init__(self, model: str, fields: Mapping[str, FieldInfo], config: Mapping[str, Any]) -> None:
        self._model = model
        self._own = fields
        self._spells = config.get("alias_generator") is to_pascal
        self._by_name = bool(config.get("validate_by_name"))
        self._by_alias = config.get("serialize_by_alias") is not False

    def respell(self, node: dict[str, Any]) -> None:
        """Have the fields of `node` read in every spelling. Raises `DeclarationError` where two collide."""
        if self._spells:
            respell_tag(node)
        if node["type"] not in _WITH_FIELDS:
            return
        _let_fields_have_names(node)
        fields = dict(fields_of(node))
        own = self._own if node["type"] == "model-fields" else {}
        for name, field in fields.items():
            self._respell(name, field, name in own and own[name].alias_priority != _GENERATED)
        readers = ((name, {*_read(field), *self._by_itself(name)}) for name, field in fields.items())
        writers = ((name, {self._written(name, field)}) for name, field in fields.items())
        self._refuse(_by_names(readers), "read from")
        self._refuse(_by_names(writers), "written as")

    def _by_itself(self, name: str) -> tuple[str, ...]:
        return (name,) if self._by_name else ()

    def _respell(self, name: str, field: dict[str, Any], is_explicit: bool) -> None:
        if self._spells and not is_explicit and _alias(field) == to_pascal(name):
            field["validation_alias"] = [[spelled] for spelled in _spellings(name)]
        written, read = self._written(name, field), _read(field)
        if read and written not in (*read, name):  # an alias for writing alone: what is written can be read
            field["validation_alias"] = [[written], *_choices(_alias(field))]

    def _written(self, name: str, field: Mapping[str, Any]) -> str:
        return str(field.get("serialization_alias", name)) if self._by_alias else name

    def _refuse(self, by_names: Mapping[str, list[str]], how: str) -> None:
        for name, fields in by_names.items():
            if len(fields) > 1:
                raise DeclarationError(
                    f"{self._model} has fields that collide: {' and '.join(map(repr, fields))} are both "
                    f"{how} {name!r}. Rename one, or give it an alias of its own: Field(alias=...)"
                )


def respell_tag(node: dict[str, Any]) -> bool:
    """Find a union's discriminator in every spelling of its field; whether `node` was changed."""
    found = node.get("discriminator") if node.get("type") == "tagged-union" else None
    if not isinstance(found, list) or len(found) != 2:
        return False
    (name,), (alias,) = found
    if alias != to_pascal(name):
        return False
    node["discriminator"] = [*([spelled] for spelled in _spellings(name)), [name]]
    return True


def _let_fields_have_names(node: dict[str, Any]) -> None:
    fields = node["fields"]
    if isinstance(fields, dict):
        fields.update({name: _Field(field) for name, field in fields.items()})
    else:
        fields[:] = [_Field(field) for field in fields]


def _spellings(name: str) -> list[str]:
    """The spellings, the winner first. .NET's and pydantic's camel case differ at single letters."""
    pascal = to_pascal(name)
    return list(dict.fromkeys((pascal, _camel_of_dotnet(pascal), to_camel(name))))


def _camel_of_dotnet(pascal: str) -> str:
    """Leading capitals become small, except the one that begins the next word, as in `IPAddress`."""
    capitals = len(pascal) - len(pascal.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    small = capitals if capitals in (1, len(pascal)) or not pascal[capitals].islower() else capitals - 1
    return pascal[:small].lower() + pascal[small:]


def _choices(alias: Any) -> list[Any]:
    """A validation alias as what `AliasChoices` makes of it: a list of paths."""
    if isinstance(alias, str):
        return [[alias]]
    return list(alias) if isinstance(alias[0], list) else [alias]


def _read(field: dict[str, Any]) -> list[str]:
    """The plain names: a path into the document collides with no other field."""
    alias = _alias(field)
    return [] if alias is None else [path[0] for path in _choices(alias) if len(path) == 1]


def _alias(field: dict[str, Any]) -> Any:
    return dict.get(field, "validation_alias")  # not by the method of `_Field`


def _by_names(names: Iterable[tuple[str, set[str]]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for field, its in names:
        for name in its:
            found.setdefault(name, []).append(field)
    return found
