"""`topics list`: what is in the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.family import family
from convex_messaging_fastapi.cli.session import Session

if TYPE_CHECKING:
    from convex_messaging_fastapi.transport.kafka.admin import SeenTopic


def add_to(root: typer.Typer) -> None:
    topics = family(root, "topics", "Topics of the cluster.")
    command(topics, "list")(list_topics)


async def list_topics(
    session: Session,
    internal: Annotated[bool, typer.Option("--internal", help="Kafka's own topics, too.")] = False,
) -> None:
    """List the topics that these credentials may see."""
    async with session.inspect() as inspector:
        seen = (await inspector.cluster()).topics
    topics = [topic for topic in seen if internal or not topic.is_internal]
    if session.out.as_json:
        session.out.json([_described(topic) for topic in topics])
        return
    rows = [(topic.name, len(topic.partitions), topic.replicas, _state(topic)) for topic in topics]
    session.out.table(("TOPIC", "PARTITIONS", "REPLICAS", "STATE"), rows)


def _state(topic: SeenTopic) -> str:
    if led := [each for each in topic.partitions if each.leader is None]:
        return f"{len(led)} without a leader"
    behind = [each for each in topic.partitions if len(each.in_sync) < len(each.replicas)]
    return f"{len(behind)} not in sync" if behind else "in sync"


def _described(topic: SeenTopic) -> dict[str, Any]:
    return {
        "topic": topic.name,
        "internal": topic.is_internal,
        "partitions": [
            {
                "partition": each.id,
                "leader": each.leader,
                "replicas": list(each.replicas),
                "in_sync": list(each.in_sync),
            }
            for each in topic.partitions
        ],
    }
