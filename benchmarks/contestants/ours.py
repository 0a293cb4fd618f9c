"""This package, as a service uses it: default settings, no prefix, no log lines switched off."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from benchmarks import messages
from benchmarks.contestants import Handler, Publish, PublishMany
from benchmarks.job import Job
from benchmarks.messages import UserCreated
from convex_messaging_fastapi import MessageBus, MessagingSettings


@asynccontextmanager
async def publisher(job: Job) -> AsyncIterator[Publish]:
    topic = job.topic
    async with MessageBus(_settings(job)) as bus:

        async def publish(event: UserCreated, key: str | None) -> object:
            return await bus.publish(topic, event, key=key)

        yield publish


@asynccontextmanager
async def many(job: Job) -> AsyncIterator[PublishMany]:
    keys = job.keys

    def key_of(event: UserCreated) -> str | None:
        return messages.key(event.user_id, keys)

    async with MessageBus(_settings(job)) as bus:

        async def publish_many(events: Sequence[UserCreated]) -> object:
            return await bus.publish_many(job.topic, events, key=key_of if keys else None)

        yield publish_many


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    bus = MessageBus(_settings(job))
    bus.subscriber(job.topic, concurrency=job.concurrency)(handler)
    async with bus:
        yield


def _settings(job: Job) -> MessagingSettings:
    return MessagingSettings(
        bootstrap_servers=job.bootstrap, topic_prefix="", consumer_group=f"bench-{uuid.uuid4().hex}"
    )
