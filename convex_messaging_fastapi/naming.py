"""What the topics and groups of one bus are called in the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from convex_messaging_fastapi.errors import ConfigurationError, DeclarationError
from convex_messaging_fastapi.messages import dead_letter_topic, topic_on_wire
from convex_messaging_fastapi.messages.topics import (
    control_topic,
    dead_letter_states,
    replay_topic,
    replay_topics_beside,
)
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.subscribers import Declaration

MAX_REMEMBERED = 1024


class Naming:
    """Turns names that users write into names on the wire, as the settings say.

    Some names are ours: those of dead letters, of their states and of pauses, and of what each group of
    this bus reads besides its handlers' topics.
    """

    def __init__(self, settings: MessagingSettings) -> None:
        self._settings = settings
        self._prefix = settings.topic_prefix
        self.dead_letters: str = dead_letter_topic(settings.topic_prefix)
        self.dead_letter_states: str = dead_letter_states(settings.topic_prefix)
        self.control: str = control_topic(settings.topic_prefix)
        self._groups: Mapping[str, str] = {}  # by their replay topics
        self._published: dict[str, str] = {}  # names that were asked for, and are not ours

    def topic(self, topic: str) -> str:
        """`topic` with its prefix. Raises `ConfigurationError` for what cannot be the name of a topic."""
        try:
            return topic_on_wire(self._prefix, topic)
        except (TypeError, AttributeError):
            kind = type(topic).__name__
            raise ConfigurationError(
                f"a topic is a str, not {kind}: it comes first, then the message"
            ) from None

    def to_publish(self, topic: str) -> str:
        """The same, for users to publish to. Raises `ConfigurationError` for a topic of ours as well."""
        try:
            return self._published[topic]
        except (KeyError, TypeError):
            return self._first_to_publish(topic)

    def replay(self, group: str) -> str:
        """The topic that dead letters of this group are replayed to."""
        return replay_topic(self._prefix, group)

    def group_of(self, declared: Declaration) -> str:
        """The consumer group that a handler reads in."""
        if declared.options.group is not None:
            return declared.options.group
        if declared.kind == "command":
            return self._settings.queue_group_for(declared.topics[0])
        return self._settings.consumer_group

    def take_in(self, declarations: Iterable[Declaration]) -> None:
        """Learn of all handlers of the bus, and so of its groups.

        Raises `DeclarationError`, and learns nothing, where two groups would share a topic of ours, or a
        handler reads one; dead letters alone are for everybody to read.
        """
        declared = tuple(declarations)
        groups: dict[str, str] = {}
        for group in map(self.group_of, declared):
            other = groups.setdefault(self.replay(group), group)
            if other != group:
                raise DeclarationError(
                    f"the groups {other!r} and {group!r} of one bus would share the topic "
                    f"{self.replay(group)!r}, to which their dead letters are replayed: rename one of them"
                )
        for each in declared:
            for topic in map(self.topic, each.topics):
                if topic != self.dead_letters and (use := self._use(topic, groups)) is not None:
                    raise DeclarationError(
                        f"the handler {each.id!r} cannot read topic {topic!r}: {use}. Name another topic"
                    )
        self._groups = groups
        self._published.clear()

    def _first_to_publish(self, topic: str) -> str:
        name = self.topic(topic)
        if (use := self._use(name, self._groups)) is not None:
            raise ConfigurationError(f"nothing else may be published to topic {name!r}: {use}")
        if len(self._published) >= MAX_REMEMBERED:
            self._published.clear()
        self._published[topic] = name
        return name

    def _use(self, topic: str, groups: Mapping[str, str]) -> str | None:
        """What a topic of ours is for; `None` of any other."""
        if topic == self.dead_letters:
            return "dead letters are written there, each about a message that failed"
        if topic == self.dead_letter_states:
            return "what became of dead letters is written there"
        if topic == self.control:
            return "pauses are written there"
        if topic in groups:
            return f"dead letters of group {groups[topic]!r} are replayed there"
        for replays in replay_topics_beside(topic):
            if replays in groups:
                return f"messages of group {groups[replays]!r} wait there for another try"
        return None
