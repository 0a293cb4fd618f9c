"""One change, as it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from convex_messaging_fastapi.asyncapi.reading import Direction

ChangeKind = Literal[
    "field_added",
    "field_added_required",
    "field_removed",
    "made_required",
    "made_optional",
    "type_changed",
    "type_narrowed",
    "type_widened",
    "value_added",
    "value_removed",
    "bounds_tightened",
    "bounds_loosened",
    "message_added",
    "message_removed",
    "topic_added",
    "topic_removed",
    "topic_renamed",
    "content_type_changed",
    "told_differently",
]


@dataclass(frozen=True, slots=True)
class Change:
    """`breaks`: of what is received, others' messages are refused that were not before; of what is sent,
    others get what they could not get before. `field` is the way to it, `Address.Lines[].Street`."""

    kind: ChangeKind
    sentence: str
    breaks: bool = False
    topic: str | None = None
    direction: Direction | None = None
    message: str | None = None
    field: str | None = None

    def __str__(self) -> str:
        """A whole sentence."""
        place = f"{self.topic}, {self.direction}" if self.direction else self.topic
        about = [part for part in (place, self.message) if part]
        return f"{' '.join(about)}: {self.sentence}" if about else self.sentence
