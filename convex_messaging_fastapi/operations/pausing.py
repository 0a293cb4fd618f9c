"""Tells a fleet, or this process, to pause a subscription or to go on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from convex_messaging_fastapi.clock import time_limit
from convex_messaging_fastapi.errors import ConfigurationError, TransportError
from convex_messaging_fastapi.machine import Machine
from convex_messaging_fastapi.messages.pauses import Pause, PauseScope, Whom, record_of
from convex_messaging_fastapi.operations.validating import KnownHandler
from convex_messaging_fastapi.parts import Parts
from convex_messaging_fastapi.policies import shown
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic, Verdict

_STOP_SECONDS = 5.0


class Pausing:
    """`machine` is what runs in this process, if a bus does."""

    def __init__(
        self, parts: Parts, handlers: Callable[[], Iterable[KnownHandler]], machine: Machine | None
    ) -> None:
        self._parts, self._handlers, self._machine = parts, handlers, machine

    async def pause(self, to: Whom, scope: PauseScope, by: str, reason: str | None) -> None:
        """See `Operations.pause`."""
        if scope == "process":
            self._say_here(to, Pause(by, self._now(), reason, scope))
        else:
            await self._say(record_of(to, by, self._now(), reason, paused=True))

    async def resume(self, to: Whom, scope: PauseScope, by: str, reason: str | None) -> None:
        """See `Operations.resume`."""
        if scope == "process":
            self._say_here(to, None)
        else:
            await self._say(record_of(to, by, self._now(), reason, paused=False))

    def whom(self, subscription: str, group: str | None) -> Whom:
        """The subscription that is meant. Raises `ConfigurationError` where that is none, or not clear.

        Of groups that are not this app's nothing is known here: they are believed to have it.
        """
        groups: dict[str, set[str]] = {}
        for known in self._handlers():
            groups.setdefault(known.group, set()).add(known.id)
        if group is not None:
            if group in groups and subscription not in groups[group]:
                raise ConfigurationError(_no_such(subscription, groups[group]))
            return Whom(group, subscription)
        having = sorted(name for name, ids in groups.items() if subscription in ids)
        if len(having) > 1:
            raise ConfigurationError(
                f"several groups have a handler {subscription!r}: say which, as group={having[0]!r}; "
                f"they are {', '.join(map(repr, having))}"
            )
        if having:
            return Whom(having[0], subscription)
        if groups:
            raise ConfigurationError(_no_such(subscription, {id for ids in groups.values() for id in ids}))
        return Whom(self._parts.settings.consumer_group, subscription)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._parts.clock.unix(), UTC)

    def _say_here(self, to: Whom, pause: Pause | None) -> None:
        if self._machine is None or not self._machine.pauses.say(to, pause):
            raise ConfigurationError(
                f'no handler {to.subscription!r} of group {to.group!r} runs in this process: scope="process" '
                'is for the process that calls; scope="fleet" is for all that run it'
            )

    async def _say(self, record: OutgoingRecord) -> None:
        """Never in a transaction, so that none that hangs can hold it up."""
        parts = self._parts
        # Compacted alone, so that no pause is forgotten before somebody ends it.
        config = {"cleanup.policy": "compact"}
        topic = NewTopic(parts.naming.control, 1, parts.settings.replication_factor, config)
        await parts.admin.ensure_topic(topic)
        producer = parts.transport.producer()
        await producer.start()
        try:
            async with time_limit(parts.clock, parts.settings.publish_timeout_seconds):
                sent = await producer.send(TopicPartition(topic.name, 0), [record])
        except TimeoutError as error:
            raise TransportError(
                f"{topic.name} did not acknowledge it in time, and may have it: see, or say it again"
            ) from error
        finally:
            await producer.stop(parts.clock.now() + _STOP_SECONDS)
        if sent.verdict is not Verdict.WRITTEN:
            raise TransportError(f"{topic.name} did not take it: {sent.reason}")


def _no_such(subscription: str, known: Iterable[str]) -> str:
    return f"no handler is {shown(subscription)}: there are {', '.join(map(repr, sorted(known)))}"
