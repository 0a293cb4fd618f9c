"""Facts about a pydantic schema, found once a type, so that codecs need not look at each message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from convex_messaging_fastapi.messages.coercion import is_coerced
from convex_messaging_fastapi.messages.recursion import ambiguous_recursion
from convex_messaging_fastapi.messages.schema_walk import (
    Walk,
    fields_of,
    is_written_as_it_is,
    takes_anything_extra,
)
from convex_messaging_fastapi.messages.secret_fields import secret_in


@dataclass(frozen=True, slots=True)
class Facts:
    """`may_read_infinity` and `may_write_infinity`: floats, or values that no schema speaks of.
    `may_write_decimals`: decimals, such values, or a serialiser that may make some;
    `may_write_decimals_as_text`: those that nothing of ours writes. `may_hold_anything`: values that
    no schema speaks of, or whose serialiser is not known.

    `only_from_json` is the first kind found that takes a decimal's company badly: it reads JSON
    text, but not the Python values that the text was parsed into. `names` are field names and
    tags, which an error may repeat since they are not the payload's own.

    `ambiguous_recursion` names the members of a union that holds itself while two of them may take
    the same object or array: each level is then read by both. `writes_stars`: a secret would be
    written as stars. `hashes_numbers`: sets, or dicts with keys, of anything but text. `tags` has the
    known tags of each union with a discriminator as they may be told, by what pydantic calls them.
    """

    has_decimal: bool
    may_read_infinity: bool
    may_write_infinity: bool
    may_write_decimals: bool
    may_write_decimals_as_text: bool
    may_hold_anything: bool
    writes_stars: bool
    only_from_json: str | None
    names: frozenset[str]
    ambiguous_recursion: str | None
    hashes_numbers: bool
    tags: Mapping[str, str]


NO_FACTS = Facts(False, False, False, False, False, False, False, None, frozenset(), None, False, {})
"""The facts of what has no schema."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a model's configuration means for the schemas inside it."""

    strict: bool = False
    finite: bool = False
    extras: bool = False
    encoded_bytes: bool = False


def facts_of(schema: Mapping[str, Any]) -> Facts:
    survey = _Survey()
    survey.visit(schema, _Settings())
    return Facts(
        has_decimal=survey.has_decimal,
        may_read_infinity=survey.may_read_infinity,
        may_write_infinity=survey.may_write_infinity,
        may_write_decimals=survey.may_write_decimals,
        may_write_decimals_as_text=survey.may_write_decimals_as_text,
        may_hold_anything=survey.may_hold_anything,
        writes_stars=secret_in(schema),
        only_from_json=survey.only_from_json,
        names=frozenset(survey.names),
        ambiguous_recursion=ambiguous_recursion(schema),
        hashes_numbers=survey.hashes_numbers,
        tags=survey.tags,
    )


_WITHOUT_FLOATS = frozenset(
    {
        *("none", "bool", "int", "str", "bytes", "literal", "enum", "uuid", "url", "multi-host-url"),
        *("date", "time", "datetime", "timedelta"),
        *("list", "tuple", "set", "frozenset", "dict", "nullable", "union", "tagged-union"),
        *("deque", "ordered-dict", "counter", "named-tuple", "named-tuple-field"),
        *("default", "chain", "lax-or-strict", "json-or-python"),
        *("function-before", "function-after", "function-wrap"),
        *("model", "model-fields", "model-field", "typed-dict", "typed-dict-field", "computed-field"),
        *("dataclass", "dataclass-args", "dataclass-field", "arguments", "definitions", "definition-ref"),
    }
)

_TEXT_OR_LIST_IN_JSON = frozenset(
    {
        *("date", "time", "datetime", "timedelta", "uuid", "bytes", "enum", "url", "multi-host-url"),
        *("set", "frozenset", "tuple", "decimal", "dataclass", "complex"),
    }
)
"""In strict mode these are refused as the Python values that JSON is parsed into."""

_ELEMENTS = {
    "dict": "values_schema",
    "list": "items_schema",
    "set": "items_schema",
    "frozenset": "items_schema",
    "deque": "items_schema",
    "ordered-dict": "values_schema",
}
_FIELDS = ("model-fields", "dataclass-args", "typed-dict", "named-tuple", "tagged-union")


class _Survey:
    """One walk over a schema."""

    def __init__(self) -> None:
        self.has_decimal = False
        self.may_read_infinity = False
        self.may_write_infinity = False
        self.may_write_decimals = False
        self.may_write_decimals_as_text = False
        self.may_hold_anything = False
        self.hashes_numbers = False
        self.only_from_json: str | None = None
        self.names: set[str] = set()
        self.tags: dict[str, str] = {}
        self._walk = Walk()
        self._followed: set[tuple[str, _Settings]] = set()

    def visit(self, node: Any, settings: _Settings) -> None:
        if isinstance(node, list | tuple):
            for child in node:
                self.visit(child, settings)
        elif isinstance(node, Mapping):
            self._visit_mapping(node, settings)

    def _visit_mapping(self, node: Mapping[str, Any], settings: _Settings) -> None:
        kind = node.get("type")
        if not isinstance(kind, str):  # a model's dict of fields
            self.visit(list(node.values()), settings)
            return
        settings = _settings_inside(node, kind, settings)
        self._note(node, kind, settings)
        for child in self._children(node, kind, settings):
            self.visit(child, settings)

    def _note(self, node: Mapping[str, Any], kind: str, settings: _Settings) -> None:
        self._note_numbers(node, kind, settings)
        self.hashes_numbers |= _hashes_numbers(node, kind)
        self._note_names(node, kind)
        if kind in _TEXT_OR_LIST_IN_JSON and node.get("strict", settings.strict):
            self.only_from_json = self.only_from_json or f"{kind} in strict mode"
        if kind == "bytes" and settings.encoded_bytes:
            self.only_from_json = self.only_from_json or "bytes with val_json_bytes"

    def _note_numbers(self, node: Mapping[str, Any], kind: str, settings: _Settings) -> None:
        has_serialiser = not is_coerced(node) and str(node.get("serialization", {}).get("type")).startswith(
            "function-"
        )
        if kind == "decimal":
            self.has_decimal = self.may_write_decimals = True
            self.may_write_infinity |= not has_serialiser  # ours refuses NaN itself
            self.may_write_decimals_as_text |= not has_serialiser
        elif kind == "float":
            self.may_read_infinity |= bool(node.get("allow_inf_nan", not settings.finite))
            self.may_write_infinity = True
        elif kind not in _WITHOUT_FLOATS or _ELEMENTS.get(kind, "type") not in node:
            self._note_anything(has_serialiser)
        elif has_serialiser:
            self.may_write_infinity = self.may_write_decimals = self.may_hold_anything = True
        if takes_anything_extra(node, settings.extras) or is_written_as_it_is(node):
            self._note_anything(False)

    def _note_anything(self, has_serialiser: bool) -> None:
        self.may_read_infinity = self.may_write_infinity = self.may_write_decimals = True
        self.may_write_decimals_as_text |= not has_serialiser
        self.may_hold_anything = True

    def _note_names(self, node: Mapping[str, Any], kind: str) -> None:
        if kind in _FIELDS:
            names = node["choices"] if kind == "tagged-union" else dict(fields_of(node))
            self.names.update(str(name) for name in names)
        if kind == "tagged-union":
            known = [tag.value if isinstance(tag, Enum) else tag for tag in node["choices"]]
            self.tags[", ".join(map(repr, node["choices"]))] = ", ".join(map(repr, known))
        if "validation_alias" in node:
            self.names.update(_texts(node["validation_alias"]))

    def _children(self, node: Mapping[str, Any], kind: str, settings: _Settings) -> Iterable[Any]:
        if kind == "lax-or-strict":
            return (node["strict_schema" if node.get("strict", settings.strict) else "lax_schema"],)
        if kind == "definition-ref":
            if (node["schema_ref"], settings) in self._followed:
                return ()
            self._followed.add((node["schema_ref"], settings))
        return self._walk.children(node)


_HASHED = {
    **dict.fromkeys(("set", "frozenset"), "items_schema"),
    **dict.fromkeys(("dict", "ordered-dict", "counter"), "keys_schema"),
}
_HASHED_BY_A_SECRET = frozenset({"str", "literal", "enum", "date", "datetime", "time", "bytes", "bool"})


def _hashes_numbers(node: Mapping[str, Any], kind: str) -> bool:
    """Whether it fills a hash table with values whose hash the sender may choose."""
    hashed = node.get(_HASHED.get(kind, ""))
    return isinstance(hashed, Mapping) and hashed.get("type") not in _HASHED_BY_A_SECRET


def _settings_inside(node: Mapping[str, Any], kind: str, outside: _Settings) -> _Settings:
    """A model or dataclass goes by its own configuration alone; others may add to what is around them."""
    config = node.get("config")
    if config is None:
        return _Settings() if kind in ("model", "dataclass") else outside
    return _Settings(
        strict=bool(config.get("strict", False)),
        finite=config.get("allow_inf_nan") is False,
        extras=config.get("extra_fields_behavior") == "allow",
        encoded_bytes=config.get("val_json_bytes", "utf8") != "utf8",
    )


def _texts(alias: Any) -> Iterable[str]:
    if isinstance(alias, str):
        return (alias,)
    if isinstance(alias, list):
        return [text for part in alias for text in _texts(part)]
    return ()
