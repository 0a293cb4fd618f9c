"""A field of a letter as the type that it should have, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Any]
"""What a letter tells, under the names of `DeadLetterMessage` in JSON. Any may be missing, or of any type."""

_MAX_INT = 2**63 - 1


def text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def count(value: object) -> int | None:
    """A whole number from 0 to the largest offset."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MAX_INT else None


def is_said(value: object) -> bool:
    """Whether a flag is set. Anything but false counts as true: nothing is sent that may have holes."""
    return value is not None and value is not False
