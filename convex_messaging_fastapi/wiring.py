"""The composition root: makes a machine of parts and declarations, and gives each part what it needs."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, copy_context
from typing import Any
from weakref import WeakSet

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.blockage import LoopWatch
from convex_messaging_fastapi.changes import Changes
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.companions import Companions, Company
from convex_messaging_fastapi.consuming.breaking import CircuitBreaker
from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.calling import CallContext, CallPlan
from convex_messaging_fastapi.consuming.dead_letters import DeadLetterTopic, DeadLetterWriter
from convex_messaging_fastapi.consuming.dispatch import Dispatch, HandlerConfig
from convex_messaging_fastapi.consuming.endings import ending_for
from convex_messaging_fastapi.consuming.outcome import Tally
from convex_messaging_fastapi.consuming.subscription import Subscription, SubscriptionConfig, lane_key_of
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.consuming.unreadable import UnreadableBatches
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.machine import Begins, Machine
from convex_messaging_fastapi.messages.bounds import Bounds
from convex_messaging_fastapi.parts import Parts
from convex_messaging_fastapi.pausing import Pauses
from convex_messaging_fastapi.policies import SubscriberOptions
from convex_messaging_fastapi.publishing.correlation import current_message
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.shutdown import ShutdownTimeouts
from convex_messaging_fastapi.subscribers import Declaration
from convex_messaging_fastapi.topic_creation import TopicCreation
from convex_messaging_fastapi.transport.base import NewTopic

current_subscription: ContextVar[Subscription | None] = ContextVar(
    "convex_messaging_subscription", default=None
)
"""The subscription whose handler runs: set in the context of every runner, and so in tasks of its handler."""

DEFAULT_GROUP = MessagingSettings.model_fields["consumer_group"].default


class Wiring:
    """Builds a machine of these parts, and the subscriptions that join it later."""

    def __init__(
        self, parts: Parts, app: Any | None, state: Mapping[str, Any], companions: Companions
    ) -> None:
        self._parts = parts
        self._companions = companions
        settings = parts.settings
        # A handler that joins later must not see the variables of the request that added it.
        self._context = copy_context()
        self._threads = HandlerThreads(settings.concurrency)
        self._call_context = CallContext(app=app, state=state, threads=self._threads)
        topic = DeadLetterTopic(
            parts.new_topic(parts.naming.dead_letters),
            parts.admin,
            parts.limits.dead_letter_bytes,
            self._context,
        )
        self._dead_letters = DeadLetterWriter(topic, parts.publishing, parts.clock)
        self._made: WeakSet[Subscription] = WeakSet()

    def machine(self, declarations: Iterable[tuple[Declaration, CallPlan]]) -> Machine:
        """Everything that is needed to run these declarations. Does no I/O."""
        parts, settings = self._parts, self._parts.settings
        all_declared = tuple(declarations)
        parts.naming.take_in(declared for declared, _ in all_declared)
        subscriptions = [self.subscription(declared, plan) for declared, plan in all_declared]
        is_test = not isinstance(parts.clock, SystemClock)
        machine = Machine(
            clock=parts.clock,
            publishing=self._companions.joining(
                Company(parts.publishing, parts.limits, parts.clock, is_test)
            ),
            dead_letters=self._dead_letters,
            threads=self._threads,
            timeouts=ShutdownTimeouts(settings.drain_timeout_seconds, settings.shutdown_timeout_seconds),
            begins=Begins(
                "memory" if settings.is_memory else f"Kafka at {settings.bootstrap_servers}",
                self.topics_to_create(subscriptions),
            ),
            watch=None if is_test else LoopWatch(),
            new_worker=self._worker,
            topic_creation=TopicCreation(parts.admin, parts.clock, self._context),
            changes=Changes(self._context),
            pauses=Pauses(
                parts.naming.control, parts.transport.log_reader(uncommitted=True), parts.clock, self._context
            ),
        )
        for subscription in subscriptions:
            machine.place(subscription)
        self._warn_of_default_group(subscriptions)
        return machine

    def subscription(self, declared: Declaration, plan: CallPlan) -> Subscription:
        """The subscription of one declaration, with every default filled in."""
        parts, settings, options = self._parts, self._parts.settings, declared.options
        config = SubscriptionConfig(
            id=declared.id,
            kind=declared.kind,
            topics=tuple(parts.naming.topic(topic) for topic in declared.topics),
            group=parts.naming.group_of(declared),
            ordering=options.ordering,
            concurrency=options.concurrency or settings.concurrency,
            batch=options.batch,
            buries=self._may_bury(declared),
            filter=options.filter,
        )
        handler_config = HandlerConfig(
            plan=plan,
            group=config.group,
            handler=declared.id,
            retry=options.retry or settings.default_retry,
            timeout=options.timeout,
            is_batch=options.batch is not None,
            bounds=self._bounds_of(config),
            error_texts=settings.error_texts,
            middleware=parts.middleware,
            observers=parts.observers,
            breaker=self._breaker(options, config),
        )
        topic, tally = parts.naming.dead_letters, Tally()
        ending = ending_for(
            options.dead_letter, self._dead_letters, topic, tally, random.random, parts.observers
        )
        dispatch = Dispatch(handler_config, self._call_context, ending, tally, parts.clock, random.random)
        context = self._context.copy()
        subscription = Subscription(config, dispatch, parts.clock, context)
        context.run(current_subscription.set, subscription)
        self._made.add(subscription)
        return subscription

    def asker(self) -> Subscription | None:
        """The subscription of this bus whose handler, or a dependency of it, calls this.

        In a task or thread that the handler started, only while its message is being handled.
        """
        subscription, record = current_subscription.get(), current_message.get()
        if subscription is None or record is None or subscription not in self._made:
            return None
        return subscription if subscription.handles(record) else None

    def topics_to_create(self, subscriptions: Iterable[Subscription]) -> tuple[NewTopic, ...]:
        """The topics that these read, and that the settings let us create."""
        parts = self._parts
        if not parts.settings.create_topics:
            return ()
        names = {topic for subscription in subscriptions for topic in subscription.config.topics}
        return tuple(parts.new_topic(name) for name in sorted(names - {parts.naming.dead_letters}))

    def _breaker(self, options: SubscriberOptions, config: SubscriptionConfig) -> CircuitBreaker | None:
        policy = self._parts.settings.default_breaker if options.breaker is None else options.breaker
        if not policy:
            return None
        clock, observers = self._parts.clock, self._parts.observers
        return CircuitBreaker(policy, lane_key_of(config), clock, config.group, config.id, observers)

    def _bounds_of(self, config: SubscriptionConfig) -> Bounds:
        """The limits of its messages; a dead letter holds a whole message, and may be larger."""
        settings = self._parts.settings
        bounds = Bounds(settings.max_message_bytes, settings.max_message_items)
        return bounds.of_dead_letters if self._parts.naming.dead_letters in config.topics else bounds

    def _may_bury(self, declared: Declaration) -> bool:
        """Whether anything may be buried for this handler.

        A dead letter is never buried again, so a handler of dead letters alone buries nothing. What
        cannot be read is buried for every other handler, whatever its own ending is.
        """
        naming = self._parts.naming
        is_any_other = any(naming.topic(topic) != naming.dead_letters for topic in declared.topics)
        return "bury" in (declared.options.dead_letter, self._parts.settings.unreadable) and is_any_other

    def _worker(self, group: str) -> Worker:
        parts, settings = self._parts, self._parts.settings
        limits = Limits(settings.max_uncommitted, settings.max_buffer_records, settings.max_buffer_bytes)
        interval = settings.auto_commit_interval_ms / 1000 if settings.enable_auto_commit else None
        return Worker(
            group,
            lambda: parts.transport.consumer(group),
            parts.clock,
            limits,
            interval,
            self._unreadable(group),
            parts.observers,
            parts.naming.replay(group),
        )

    def _unreadable(self, group: str) -> UnreadableBatches | None:
        parts, settings = self._parts, self._parts.settings
        if settings.unreadable == "hold":
            return None
        return UnreadableBatches(
            group,
            self._dead_letters,
            parts.naming.dead_letters,
            parts.clock,
            random.random,
            texts=settings.error_texts,
            observers=parts.observers,
        )

    def _warn_of_default_group(self, subscriptions: Iterable[Subscription]) -> None:
        if any(subscription.config.group == DEFAULT_GROUP for subscription in subscriptions):
            reports.default_group(DEFAULT_GROUP)
