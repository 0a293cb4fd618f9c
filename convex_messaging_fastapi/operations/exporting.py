"""A letter as JSON has it: one flat object, with names in PascalCase as in all that we write."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from convex_messaging_fastapi.messages.dead_letter import as_text
from convex_messaging_fastapi.operations.values import Letter, LetterPlace, Origin, StateChange


def as_json(letter: Letter) -> dict[str, Any]:
    """What `json.dumps` takes. Bytes are text where they are UTF-8, else base64 under `...Base64`."""
    told = {_pascal(each.name): _plain(getattr(letter, each.name)) for each in fields(letter)}
    for name, value in (("Key", letter.key), ("Value", letter.value)):
        told[name], told[f"{name}Base64"] = as_text(value)
    told["Headers"] = [_header(*header) for header in letter.headers]
    return told


def _header(name: str, value: bytes | None) -> dict[str, str | None]:
    text, in_base64 = as_text(value)
    return {"Name": name, "Value": text, "ValueBase64": in_base64}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, LetterPlace | Origin):
        return {_pascal(name): _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, StateChange):
        return {_pascal(each.name): _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
