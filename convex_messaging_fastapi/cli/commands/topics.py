"""`topics list`, `show` and `create`: what is in the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.family import family
from convex_messaging_fastapi.cli.session import Session, refuse_memory

if TYPE_CHECKING:
    from convex_messaging_fastapi.transport.base import NewTopic
    from convex_messaging_fastapi.transport.kafka.admin import SeenCluster, SeenTopic

_SHOWN = ("cleanup.policy", "retention.ms", "min.insync.replicas", "max.message.bytes", "compression.type")

Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")]


def add_to(root: typer.Typer) -> None:
    topics = family(root, "topics", "Topics of the cluster.")
    command(topics, "list")(list_topics)
    command(topics, "show")(show)
    command(topics, "create")(create)


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


async def show(
    session: Session, topic: Annotated[str, typer.Argument(help="With or without the prefix.")]
) -> None:
    """Show one topic: its partitions and copies, what it keeps."""
    name = session.topic(topic)
    async with session.inspect() as inspector:
        seen = there(await inspector.cluster([name]), name)
        configs = (await inspector.configs([name])).get(name, {})
    if session.out.as_json:
        session.out.json(_described(seen) | {"config": dict(configs)})
        return
    session.out.table(("SETTING", "VALUE"), [(each, configs.get(each, "(not told)")) for each in _SHOWN])
    session.out.line("")
    rows = [
        (each.id, "none" if each.leader is None else each.leader, _ids(each.replicas), _ids(each.in_sync))
        for each in seen.partitions
    ]
    session.out.table(("PARTITION", "LEADER", "REPLICAS", "IN SYNC"), rows)


async def create(
    session: Session,
    topics: Annotated[list[str] | None, typer.Argument(help="With or without the prefix.")] = None,
    from_app: Annotated[bool, typer.Option("--from-app", help="All that the app's handlers read.")] = False,
    partitions: Annotated[int | None, typer.Option("--partitions", min=1)] = None,
    replication: Annotated[int | None, typer.Option("--replication", min=1, help="Copies of each.")] = None,
    yes: Yes = False,
) -> None:
    """Create topics that are missing, as the service would.

    One that exists is left as it is. A dry run until --yes.
    """
    if not topics and not from_app:
        raise Ended(ExitCode.USAGE, "name topics, or say --from-app")
    settings = session.settings_of_app if from_app else session.settings
    refuse_memory(settings)
    asked = [session.topic(topic) for topic in topics or ()]
    if from_app:
        asked += [topic for handler in session.handlers for topic in handler.topics]
    names = list(dict.fromkeys(asked))
    async with session.inspect(settings) as inspector:
        cluster = await inspector.cluster(names)
    missing = [name for name in names if cluster.topic(name) is None]
    parts = session.parts(settings)
    new = [_as_asked(parts.new_topic(name), partitions, replication) for name in missing]
    if yes:
        for topic in new:
            await parts.admin.ensure_topic(topic)
            session.done = f"{topic.name} is there"
    _tell_of_created(session, names, new, yes)


def there(cluster: SeenCluster, name: str) -> SeenTopic:
    """The topic. Raises `Ended` where there is none, or none for these credentials."""
    if name in cluster.forbidden:
        raise Ended(ExitCode.REFUSED, f"these credentials may not describe topic {name}")
    if (seen := cluster.topic(name)) is None:
        raise Ended(
            ExitCode.NOT_FOUND,
            f"there is no topic {name}: see convex-messaging topics list, or create it with "
            f"convex-messaging topics create {name} --yes",
        )
    return seen


def _as_asked(topic: NewTopic, partitions: int | None, replication: int | None) -> NewTopic:
    return topic._replace(
        partitions=partitions or topic.partitions, replication_factor=replication or topic.replication_factor
    )


def _tell_of_created(session: Session, names: Iterable[str], new: Iterable[NewTopic], done: bool) -> None:
    made = {topic.name: topic for topic in new}
    words = {True: "created" if done else "would be created", False: "is there"}
    if session.out.as_json:
        session.out.json([{"topic": name, "result": words[name in made]} for name in names])
        return
    rows = [
        (name, words[name in made], topic.partitions or "-", topic.replication_factor or "-")
        if (topic := made.get(name))
        else (name, words[False], "", "")
        for name in names
    ]
    session.out.table(("TOPIC", "RESULT", "PARTITIONS", "REPLICAS"), rows)
    if made and not done:
        session.out.say("nothing was done: say --yes to do it (a dash is the cluster's choice)")


def _state(topic: SeenTopic) -> str:
    if led := [each for each in topic.partitions if each.leader is None]:
        return f"{len(led)} without a leader"
    behind = [each for each in topic.partitions if len(each.in_sync) < len(each.replicas)]
    return f"{len(behind)} not in sync" if behind else "in sync"


def _ids(brokers: Iterable[int]) -> str:
    return ", ".join(map(str, brokers))


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
