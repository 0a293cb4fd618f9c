"""What the topics and groups of one bus are called in the cluster."""

from __future__ import annotations

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.messages import dead_letter_topic, topic_on_wire
from convex_messaging_fastapi.messages.topics import control_topic, dead_letter_states, replay_topic
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.subscribers import Declaration


class Naming:
    """Turns names that users write into names on the wire, as the settings say."""

    def __init__(self, settings: MessagingSettings) -> None:
        self._settings = settings
        self._prefix = settings.topic_prefix
        self.dead_letters: str = dead_letter_topic(settings.topic_prefix)
        self.dead_letter_states: str = dead_letter_states(settings.topic_prefix)
        self.control: str = control_topic(settings.topic_prefix)

    def topic(self, topic: str) -> str:
        """`topic` with its prefix. Raises `ConfigurationError` for what cannot be the name of a topic."""
        try:
            return topic_on_wire(self._prefix, topic)
        except (TypeError, AttributeError):
            kind = type(topic).__name__
            raise ConfigurationError(
                f"a topic is a str, not {kind}: it comes first, then the message"
            ) from None

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
