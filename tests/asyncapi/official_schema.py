"""Asks the official schema of AsyncAPI, from asyncapi/spec-json-schemas (Apache 2.0), about a document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

HERE = Path(__file__).parent / "official"
VERSIONS = ("3.1.0", "3.0.0")


def mistakes_in(document: Mapping[str, Any], version: str = "3.1.0") -> list[str]:
    """What the schema of this version says against the document, once its own version line is this one."""
    found = _validator(version).iter_errors({**document, "asyncapi": version})
    return [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:200]}" for each in found]


@cache
def _validator(version: str) -> Any:
    return Draft7Validator(json.loads((HERE / f"{version}.json").read_text()))
