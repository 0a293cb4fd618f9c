"""Where copies may go: no replay writes to a topic that an operator did not mean. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from convex_messaging_fastapi.errors import ConfigurationError, ReplayRefused
from convex_messaging_fastapi.messages.topics import topic_on_wire
from convex_messaging_fastapi.naming import Naming

To = Literal["handler", "topic"]


@dataclass(frozen=True, slots=True)
class Targets:
    """Which topics may be written to. `allowed` are further ones that the operator named."""

    naming: Naming
    prefix: str
    groups: Collection[str]
    dead_letter_topics: Collection[str]
    allowed: Collection[str] = ()

    def of_group(self, group: str) -> str:
        """The replay topic of a group that the cluster knows. Raises `ReplayRefused`."""
        if group not in self.groups:
            raise ReplayRefused(
                "no_group",
                f"the cluster knows no group {group!r}, or these credentials lack DESCRIBE on group {group}: "
                "start its service, or replay with to='topic'",
            )
        return self.naming.replay(group)

    def original(self, topic: str) -> str:
        """The original's own topic. Raises `ReplayRefused`."""
        if (why := self._against(topic)) is not None:
            raise ReplayRefused("target_not_allowed", f"nothing is written to topic {topic!r}: {why}")
        return topic

    def _against(self, topic: str) -> str | None:
        if topic.startswith("__"):
            return "it is one of Kafka's own"
        if topic in self.dead_letter_topics or topic == self.naming.dead_letters:
            return "it is a topic of dead letters"
        if topic in self._ours():
            return "it is one of the bus's own"
        try:
            if topic_on_wire("", topic) != topic:
                return "Kafka takes no such name"
        except ConfigurationError:
            return "Kafka takes no such name for a topic"
        if self.prefix and not topic.startswith(f"{self.prefix}.") and topic not in self.allowed:
            return f"it is not under the prefix {self.prefix!r}; allow it by its name if you mean it"
        return None

    def _ours(self) -> set[str]:
        own = {self.naming.dead_letter_states, self.naming.control}
        return own | {self.naming.replay(group) for group in self.groups}
