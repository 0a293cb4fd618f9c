"""The composition root: from settings and declarations to a machine, every part given what it needs."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, copy_context
from typing import Any
from weakref import WeakSet

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.blockage import LoopWatch
from convex_messaging_fastapi.changes import Changes
from convex_messaging_fastapi.clock import Clock, SystemClock
from convex_messaging_fastapi.consuming.burial import Burial, LetterTopic, letter_topic
from convex_messaging_fastapi.consuming.calling import CallPlan, Surroundings
from convex_messaging_fastapi.consuming.dispatch import Dispatch, Treatment
from convex_messaging_fastapi.consuming.intake import Limits
from convex_messaging_fastapi.consuming.subscription import Lineup, Subscription
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.consuming.unreadable import UnreadableBatches
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.machine import Machine, Patience
from convex_messaging_fastapi.messages import dead_letter_topic, topic_on_wire
from convex_messaging_fastapi.messages.bounds import Bounds
from convex_messaging_fastapi.preparing import Preparing
from convex_messaging_fastapi.publishing import CreatingProducer, Partitioner, Publisher, PublishLimits
from convex_messaging_fastapi.publishing.correlation import current_message
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.subscribers import Declaration
from convex_messaging_fastapi.transport.base import NewTopic, ProducerTransport, Transport
from convex_messaging_fastapi.transport.kafka import kafka_transport
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport, shared_broker

_current_subscription: ContextVar[Subscription | None] = ContextVar(
    "convex_messaging_subscription", default=None
)
"""Whose handler runs: it is in the context of every runner, and so in whatever the handler begins."""

DEFAULT_GROUP = MessagingSettings.model_fields["consumer_group"].default


class Wiring:
    """Builds a machine, and later the subscriptions that join it while it runs."""

    def __init__(
        self,
        settings: MessagingSettings,
        transport: Transport,
        clock: Clock,
        app: Any | None,
        state: Mapping[str, Any],
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._clock = clock
        # A handler that joins later must not live in the request that it was added by.
        self._context = copy_context()
        self._threads = HandlerThreads(settings.concurrency)
        self._surroundings = Surroundings(app=app, state=state, threads=self._threads)
        self._admin = transport.admin()
        self._limits = PublishLimits(settings.max_message_bytes, settings.max_pending_bytes)
        self._publisher = Publisher(self._producer(), clock, Partitioner(settings.partitioner), self._limits)
        self._letters = dead_letter_topic(settings.topic_prefix)
        letters = LetterTopic(
            self._new_topic(self._letters), self._admin, self._limits.letter_bytes, self._context
        )
        self._burial = Burial(letters, self._publisher, clock, settings.publish_timeout_seconds)
        self._made: WeakSet[Subscription] = WeakSet()

    def machine(self, declarations: Iterable[tuple[Declaration, CallPlan]]) -> Machine:
        """Everything that is needed to run these declarations. Does no I/O."""
        settings = self._settings
        subscriptions = [self.subscription(declared, plan) for declared, plan in declarations]
        machine = Machine(
            clock=self._clock,
            publisher=self._publisher,
            burial=self._burial,
            threads=self._threads,
            patience=Patience(settings.drain_timeout_seconds, settings.shutdown_timeout_seconds),
            cluster="memory" if settings.is_memory else f"Kafka at {settings.bootstrap_servers}",
            watch=LoopWatch() if isinstance(self._clock, SystemClock) else None,
            topics=self.topics_to_create(subscriptions),
            new_worker=self._worker,
            preparing=Preparing(self._admin, self._clock, self._context),
            changes=Changes(self._context),
        )
        for subscription in subscriptions:
            self._place(machine, subscription)
        self._warn_of_default_group(subscriptions)
        return machine

    def subscription(self, declared: Declaration, plan: CallPlan) -> Subscription:
        """One declaration, every choice made."""
        settings, options = self._settings, declared.options
        lineup = Lineup(
            id=declared.id,
            kind=declared.kind,
            topics=tuple(self.on_wire(topic) for topic in declared.topics),
            group=self.group_of(declared),
            ordering=options.ordering,
            concurrency=options.concurrency or settings.concurrency,
            batch=options.batch,
            buries=self._may_bury(declared),
            filter=options.filter,
        )
        treatment = Treatment(
            plan=plan,
            group=lineup.group,
            handler=declared.id,
            retry=options.retry or settings.default_retry,
            dead_letter=options.dead_letter,
            timeout=options.timeout,
            is_batch=options.batch is not None,
            bounds=self._bounds_of(lineup),
            error_texts=settings.error_texts,
        )
        dispatch = Dispatch(
            treatment, self._surroundings, self._burial, self._letters, self._clock, random.random
        )
        context = self._context.copy()
        subscription = Subscription(lineup, dispatch, self._clock, context)
        context.run(_current_subscription.set, subscription)
        self._made.add(subscription)
        return subscription

    def asker(self) -> Subscription | None:
        """The subscription of this bus in whose handler, or in a dependency of it, this is called.

        In a task or thread that the handler has begun, only as long as that message is at work.
        """
        subscription, record = _current_subscription.get(), current_message.get()
        if subscription is None or record is None or subscription not in self._made:
            return None
        return subscription if subscription.handles(record) else None

    def _bounds_of(self, lineup: Lineup) -> Bounds:
        """What its messages may measure; a letter holds a whole message, and may be larger."""
        bounds = Bounds(self._settings.max_message_bytes, self._settings.max_message_items)
        return bounds.of_letters if self._letters in lineup.topics else bounds

    def on_wire(self, topic: str) -> str:
        try:
            return topic_on_wire(self._settings.topic_prefix, topic)
        except (TypeError, AttributeError):
            kind = type(topic).__name__
            raise ConfigurationError(
                f"a topic is a str, not {kind}: it comes first, then the message"
            ) from None

    def group_of(self, declared: Declaration) -> str:
        if declared.options.group is not None:
            return declared.options.group
        if declared.kind == "command":
            return self._settings.queue_group_for(declared.topics[0])
        return self._settings.consumer_group

    def _may_bury(self, declared: Declaration) -> bool:
        """Dead letters are never buried again, so whoever reads nothing else buries nothing.

        What cannot be read is buried for any handler, whatever becomes of its own failures.
        """
        is_any_other = any(self.on_wire(topic) != self._letters for topic in declared.topics)
        return "bury" in (declared.options.dead_letter, self._settings.unreadable) and is_any_other

    def _place(self, machine: Machine, subscription: Subscription) -> None:
        group = subscription.lineup.group
        worker = machine.workers.get(group)
        if worker is None:
            worker = machine.workers[group] = self._worker(group)
        worker.add(subscription)

    def _worker(self, group: str) -> Worker:
        settings = self._settings
        limits = Limits(settings.max_uncommitted, settings.max_buffer_records, settings.max_buffer_bytes)
        interval = settings.auto_commit_interval_ms / 1000 if settings.enable_auto_commit else None
        return Worker(
            group,
            lambda: self._transport.consumer(group),
            self._clock,
            limits,
            interval,
            self._unreadable(group),
        )

    def _unreadable(self, group: str) -> UnreadableBatches | None:
        if self._settings.unreadable == "hold":
            return None
        texts = self._settings.error_texts
        return UnreadableBatches(group, self._burial, self._letters, self._clock, random.random, texts=texts)

    def topics_to_create(self, subscriptions: Iterable[Subscription]) -> tuple[NewTopic, ...]:
        """What these read and the settings let us make, if it is missing."""
        if not self._settings.create_topics:
            return ()
        names = {topic for subscription in subscriptions for topic in subscription.lineup.topics}
        return tuple(self._new_topic(name) for name in sorted(names - {self._letters}))

    def _producer(self) -> ProducerTransport:
        producer = self._transport.producer()
        if not self._settings.create_topics:
            return producer
        return CreatingProducer(producer, self._admin, self._new_topic)

    def _new_topic(self, name: str) -> NewTopic:
        topic = NewTopic(
            name,
            self._settings.topic_partitions,
            self._settings.replication_factor,
            {"retention.ms": str(self._settings.message_retention_ms)},
        )
        return letter_topic(topic, self._limits.letter_bytes) if name == self._letters else topic

    def _warn_of_default_group(self, subscriptions: Iterable[Subscription]) -> None:
        if any(subscription.lineup.group == DEFAULT_GROUP for subscription in subscriptions):
            reports.default_group(DEFAULT_GROUP)


def transport_for(settings: MessagingSettings, clock: Clock) -> Transport:
    """Kafka, or this process's memory, as `bootstrap_servers` says.

    Raises `ConfigurationError` where the installed aiokafka is not one that Kafka can be used with.
    """
    if settings.is_memory:
        broker = shared_broker(settings.memory_name, clock) if settings.memory_name else MemoryBroker(clock)
        return MemoryTransport(
            broker,
            auto_offset_reset=settings.auto_offset_reset,
            revoke_drain_seconds=settings.revoke_drain_seconds,
        )
    return kafka_transport(settings, clock)
