"""A page before it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class View(NamedTuple):
    """`values` are what the template of this name is filled with."""

    template: str
    values: Mapping[str, Any]


PAGE_SECONDS = 8.0
"""How long a page waits for what is read from the cluster; an answer of the API waits for 2 s."""
