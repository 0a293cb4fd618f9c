"""Bytes and durations in a `ConvexMessage`: the text that each is written as and read from.

Text is read by the type of its field, whether it comes from JSON, from parsed JSON, or from Python: so a
model reads the same with a `Decimal` in it as without one.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, cast

from pydantic_core import PydanticCustomError, PydanticSerializationUnexpectedValue, core_schema

from convex_messaging_fastapi.messages import durations
from convex_messaging_fastapi.messages.schema_walk import serialiser_of

NOT_BASE64 = "convex_not_base64"
"""The kind of error for text that is not base64."""


def bytes_of(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError(NOT_BASE64, "Input should be bytes in standard base64") from None


def duration_of(value: Any) -> Any:
    """.NET's form as a duration; other text is for pydantic, which reads ISO 8601."""
    if not isinstance(value, str):
        return value
    duration = durations.read(value)
    return value if duration is None else duration


def base64_of(value: Any) -> str:
    if not isinstance(value, bytes | bytearray):
        raise PydanticSerializationUnexpectedValue(f"expected bytes, not {type(value).__name__}")
    return base64.b64encode(value).decode("ascii")


def text_of(value: Any) -> str:
    """Raises `EncodeError` for a duration that .NET cannot hold."""
    if not isinstance(value, timedelta):
        raise PydanticSerializationUnexpectedValue(f"expected a timedelta, not {type(value).__name__}")
    return durations.written(value)


def coerce_bytes(node: dict[str, Any], is_strict: bool) -> None:
    """Make the bytes that `node` describes base64 in JSON."""
    _coerce(node, is_strict, bytes_of, _BYTES, {"type": "string", "format": "byte"})


def coerce_duration(node: dict[str, Any], is_strict: bool) -> None:
    """Make the duration that `node` describes .NET's form in JSON; other forms are read as well."""
    shown = {"type": "string", "pattern": f"^{durations.PATTERN}$"}
    _coerce(node, is_strict, duration_of, _DURATION, shown)


def give_way_to_text(choices: Iterable[Any]) -> None:
    """Try the choices of a union that come after `str` only if `str` does not fit.

    Pydantic prefers text to them when it reads Python values, but not when it reads JSON.
    """
    members = [choice[0] if isinstance(choice, tuple) else choice for choice in choices]
    after_text = itertools.dropwhile(lambda member: member.get("type") != "str", members)
    for member in filter(is_coerced, after_text):
        if member["type"] == "function-before":
            inside: Any = {**member}
            written = {name: inside.pop(name) for name in _OF_THE_WHOLE if name in inside}
            strict = core_schema.no_info_before_validator_function(_refuse_text, inside)
            member.clear()
            member.update(core_schema.lax_or_strict_schema(inside, strict), **written)


_OF_THE_WHOLE = ("serialization", "metadata", "ref")


def is_coerced(node: Mapping[str, Any]) -> bool:
    """Whether this node was changed here; the schema of another message may hold it as well."""
    return serialiser_of(node) in (base64_of, text_of)


def _coerce(node: dict[str, Any], is_strict: bool, read: Any, written: Any, shown: dict[str, Any]) -> None:
    """Change `node` in place."""
    inside = cast("Any", {**node})
    named = {"ref": inside.pop("ref")} if "ref" in inside else {}  # others refer to it, as to an alias's type
    reading = core_schema.no_info_before_validator_function(read, inside)
    whole = core_schema.json_or_python_schema(reading, inside) if is_strict else reading
    node.clear()
    node.update(
        whole, **named, serialization=written, metadata={"pydantic_js_functions": [lambda *_: {**shown}]}
    )


def _written_by(function: Callable[[Any], str]) -> core_schema.SerSchema:
    return core_schema.plain_serializer_function_ser_schema(
        function, return_schema=core_schema.str_schema(), when_used="json"
    )


def _refuse_text(value: Any) -> Any:
    """For the strict try that a union makes first; what only a lax try finds comes last."""
    if isinstance(value, str):
        raise PydanticCustomError("convex_text", "Input should not be text")
    return value


_BYTES, _DURATION = _written_by(base64_of), _written_by(text_of)

COERCED: Mapping[str, Callable[[dict[str, Any], bool], None]] = {
    "bytes": coerce_bytes,
    "timedelta": coerce_duration,
}
"""By the kind of schema. Each is told whether that is in strict mode."""
