"""Generic types of kinds that are known only while a test runs."""

from __future__ import annotations

from typing import Any


def of(generic: Any, *kinds: Any) -> Any:
    """`generic[kinds]`: to a type checker the parameter of a test is a variable, and no type."""
    return generic[kinds if len(kinds) > 1 else kinds[0]]
