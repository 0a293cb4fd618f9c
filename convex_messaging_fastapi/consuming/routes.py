"""The subscriptions of a worker, and which of them get the records of a topic."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from convex_messaging_fastapi.consuming.filtering import Unhandled
from convex_messaging_fastapi.consuming.subscription import Subscription


class Routes:
    """Those of one group in one process. `leaving` get no more records, and may have a handler at work.

    Of what is in `replay_topic`, if there is such a topic, any of them may be named.
    """

    def __init__(self, group: str, replay_topic: str | None = None) -> None:
        self.group = group
        self.replay_topic = replay_topic
        self._by_id: dict[str, Subscription] = {}
        self.by_topic: Mapping[str, tuple[Subscription, ...]] = {}
        self.leaving: tuple[Subscription, ...] = ()
        self.has_batches: bool = False
        self.unhandled: Unhandled = Unhandled(group)

    @property
    def subscriptions(self) -> Collection[Subscription]:
        return self._by_id.values()

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(sorted({topic for sub in self.subscriptions for topic in sub.config.topics}))

    @property
    def optional_topics(self) -> tuple[str, ...]:
        """What is read besides, though it may be missing."""
        return () if self.replay_topic is None else (self.replay_topic,)

    @property
    def begun(self) -> tuple[Subscription, ...]:
        """All that may have a handler at work."""
        return (*self.subscriptions, *self.leaving)

    @property
    def is_short_of_work(self) -> bool:
        """Whether a handler may be waiting for a record."""
        return any(subscription.short_of_work for subscription in self.subscriptions)

    def has(self, id: str) -> bool:
        return id in self._by_id

    def get(self, id: str) -> Subscription | None:
        return self._by_id.get(id)

    def add(self, subscription: Subscription) -> None:
        self._by_id[subscription.config.id] = subscription
        self._route()

    def remove(self, id: str) -> Subscription:
        """The subscription counts as leaving until `forget_leaving`."""
        subscription = self._by_id.pop(id)
        subscription.close()
        self.leaving = (subscription,)
        self._route()
        return subscription

    def forget_leaving(self) -> None:
        self.leaving = ()

    def _route(self) -> None:
        by_topic = {
            topic: tuple(sub for sub in self.subscriptions if topic in sub.config.topics)
            for topic in self.topics
        }
        if by_topic:  # what stays when the last one leaves is for another process to handle
            by_topic |= dict.fromkeys(self.optional_topics, tuple(self.subscriptions))
        self.by_topic = by_topic
        self.has_batches = any(sub.config.batch is not None for sub in self.subscriptions)
