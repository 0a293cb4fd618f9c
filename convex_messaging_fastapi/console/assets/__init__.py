"""The files that the pages load: one stylesheet and one script, each known by the hash of what is in it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_KINDS = {"console.css": "text/css", "console.js": "text/javascript"}

NAMES = tuple(_KINDS)


class Asset(NamedTuple):
    content: bytes
    kind: str
    etag: str


@cache
def asset(name: str) -> Asset | None:
    """`None` for what is none of them."""
    if name not in _KINDS:
        return None
    content = files(__name__).joinpath(name).read_bytes()
    return Asset(content, f"{_KINDS[name]}; charset=utf-8", f'"{hashlib.sha256(content).hexdigest()[:20]}"')
