"""Creates topics. Asks first, so that an existing topic needs no right to create."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaError, NodeNotReadyError, NoError, TopicAlreadyExistsError
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, sleep
from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.transport.base import NewTopic
from convex_messaging_fastapi.transport.kafka.engine import Client, for_code
from convex_messaging_fastapi.transport.kafka.recovery import Explanation, Reached, explain_membership
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

_UP_TO_THE_CLUSTER = -1
_A_TOPIC = 2
_LIMIT = "max.message.bytes"
_RETENTION = "retention.ms"
_NUMBER = re.compile(r"-?[0-9]{1,19}")
_MOST_REPLICAS = 3


class KafkaAdmin:
    """Implements `AdminTransport`. Connects for each call, for there are few."""

    def __init__(
        self,
        clock: Clock,
        tuning: Tuning,
        request_timeout_ms: int,
        *,
        reach: Callable[[], Awaitable[Reached | Explanation]],
        options: Callable[[Reached], dict[str, Any]],
    ) -> None:
        self._clock, self._tuning = clock, tuning
        self._request_timeout_ms = request_timeout_ms
        self._reach, self._options = reach, options

    async def ensure_topic(self, topic: NewTopic) -> None:
        try:
            async with self._client(f"topic {topic.name!r} could not be created") as client:
                if not (await client.ask(topic.name)).exists:
                    await self._create(client, topic)
                    await self._until_known(client, topic.name)
        except KafkaError as error:
            raise TopicUnavailable(f"topic {topic.name!r} could not be created: {error}") from error

    async def largest_message(self, topic: str) -> int | None:
        return await self._setting_of(topic, _LIMIT, f"what topic {topic} takes")

    async def retention_ms(self, topic: str) -> int | None:
        return await self._setting_of(topic, _RETENTION, f"for how long topic {topic} keeps a record")

    async def _setting_of(self, topic: str, name: str, what: str) -> int | None:
        try:
            async with self._client(f"topic {topic!r} could not be asked about") as client:
                question = DescribeConfigsRequest([(_A_TOPIC, topic, [name])])
                answer = await client.send(client.get_random_node(), question)
        except (KafkaError, TopicUnavailable) as error:
            reports.no_answer(what, error)
            return None
        return _told_of(answer, name)

    @asynccontextmanager
    async def _client(self, failing: str) -> AsyncIterator[Client]:
        reached = await self._reach()
        if isinstance(reached, Explanation):
            raise TopicUnavailable(f"{failing}: {reached.detail}", problem=reached.problem.value)
        options = self._options(reached)
        client = Client.asking(**options)
        try:
            await client.bootstrap()
            yield client
        finally:
            await client.close()

    async def _create(self, client: Client, topic: NewTopic) -> None:
        request = _request(client, topic, self._request_timeout_ms)
        answer = await client.send_patiently(_controller(client), request, self._request_timeout_ms / 1000)
        described = answer.to_object()["topic_errors"][0]
        error = for_code(described["error_code"])
        if error in (NoError, TopicAlreadyExistsError):
            return
        reason = described.get("error_message") or error.description
        sentence = f"topic {topic.name!r} could not be created: {error.__name__}: {reason}"
        raise TopicUnavailable(sentence, problem=explain_membership(error(topic.name)).problem.value)

    async def _until_known(self, client: Client, topic: str) -> None:
        """Wait until a broker knows the new topic, because publishing begins right after."""
        give_up = self._clock.now() + self._request_timeout_ms / 1000
        while not (await client.ask(topic)).exists and self._clock.now() < give_up:
            await sleep(self._clock, self._tuning.retry_seconds)


def _controller(client: Client) -> Any:
    controller = client.cluster.controller
    if controller is None:
        raise NodeNotReadyError("the cluster has no controller now")
    return controller.nodeId


def _request(client: Client, topic: NewTopic, timeout_ms: int) -> CreateTopicsRequest:
    replicas = topic.replication_factor or min(_MOST_REPLICAS, len(client.cluster.brokers()))
    described: tuple[Any, ...] = (
        topic.name,
        topic.partitions or _UP_TO_THE_CLUSTER,
        replicas,
        [],
        list(topic.config.items()),
    )
    return CreateTopicsRequest([described], timeout_ms, False)


def _told_of(answer: Any, name: str) -> int | None:
    """`None` also if these credentials may not describe the topic."""
    for described in answer.to_object()["resources"]:
        for entry in described["config_entries"]:
            if entry["config_names"] == name and _NUMBER.fullmatch(str(entry["config_value"])):
                return int(entry["config_value"])
    return None
