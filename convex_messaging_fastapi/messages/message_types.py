"""The name of a model in the `message-type` header, and the names by which it is read."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_FROM_HERE_ON = re.compile(r"[\[<`,]")
"""The end of a class's name: its generic arguments follow, or its assembly, as .NET writes them."""


class WireNames(NamedTuple):
    """A model's name in the header, `None` for its class name; `also_read` are earlier names."""

    name: str | None = None
    also_read: tuple[str, ...] = ()


ATTRIBUTE = "__convex_wire_names__"
"""The attribute of a class with its `WireNames`. Not inherited: a subclass is another message type."""


def wire_name(model: type) -> str:
    """The header of this model's messages: the name it was given, or its class name without arguments."""
    return _given(model).name or bare_name(model.__name__)


def names_read(model: type) -> frozenset[str]:
    """The bare names in a header that mean this model."""
    return frozenset(map(bare_name, (wire_name(model), *_given(model).also_read)))


def bare_name(header: str) -> str:
    """The class's own name in `Shop.Orders.Shipped`, `Envelope[int]` or `Shop.Envelope<Shop.Order>`."""
    return _FROM_HERE_ON.split(header, maxsplit=1)[0].rpartition(".")[2].strip()


def _given(model: type) -> WireNames:
    # Pydantic makes a subclass of a generic model for its arguments: the same kind, and the same names.
    metadata: Any = getattr(model, "__pydantic_generic_metadata__", None)
    written = (metadata and metadata["origin"]) or model
    given: WireNames = vars(written).get(ATTRIBUTE, WireNames())
    return given
