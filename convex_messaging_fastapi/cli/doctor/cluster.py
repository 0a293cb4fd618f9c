"""What the cluster has for the service, and what it lets it do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convex_messaging_fastapi.cli.doctor.findings import Finding, doubtful, good, skipped, wrong
from convex_messaging_fastapi.cli.doctor.local import codecs_missing
from convex_messaging_fastapi.cli.doctor.needs import Need, Needs
from convex_messaging_fastapi.errors import TransportError

if TYPE_CHECKING:
    from convex_messaging_fastapi.settings import MessagingSettings
    from convex_messaging_fastapi.transport.kafka.admin import Inspector, SeenCluster, SeenGroup, SeenTopic

_AGAIN_SECONDS = 0.25
_A_DAY_MS = 86_400_000
_SAFE_REPLICAS = 3

Configs = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Seen:
    """The part of the cluster that the service uses. `configs` lacks what may not be described."""

    settings: MessagingSettings
    needs: Needs
    cluster: SeenCluster
    configs: Configs
    groups: Mapping[str, SeenGroup | str]
    """By name; in place of a group why it cannot be described."""

    def config(self, topic: str, name: str) -> str | None:
        return self.configs.get(topic, {}).get(name)

    def number(self, topic: str, name: str) -> int | None:
        text = self.config(topic, name)
        return int(text) if text and text.lstrip("-").isdecimal() else None


async def look(inspector: Inspector, settings: MessagingSettings, needs: Needs) -> Seen:
    """Raises `TransportError`."""
    of_rights = {need.name for need in needs.rights if need.kind == "topic"}
    names = {*needs.topics, needs.letters, needs.states, *of_rights}
    cluster = await inspector.cluster(names)
    configs = await inspector.configs([topic.name for topic in cluster.topics])
    groups: dict[str, SeenGroup | str] = {}
    for group in needs.groups:
        try:
            groups[group] = await inspector.group(group)
        except TransportError as error:
            groups[group] = str(error)
    return Seen(settings, needs, cluster, configs, groups)


def of_topics(seen: Seen) -> Iterator[Finding]:
    if not seen.needs.is_of_app:
        yield skipped("topics", "no app was named, so what it reads is not known: give --app")
        return
    findings = [finding for topic in seen.needs.topics for finding in _of_topic(seen, topic)]
    findings += _idle_members(seen)
    yield from findings or [good("topics", f"{len(seen.needs.topics)} that its handlers read are there")]


def _of_topic(seen: Seen, name: str) -> Iterator[Finding]:
    topic = seen.cluster.topic(name)
    if topic is None:
        if name not in seen.cluster.forbidden:  # else its right is what is missing
            yield _missing(seen, name)
        return
    yield from _of_copies(seen, topic)
    yield from _of_retention(seen, topic)


def _idle_members(seen: Seen) -> Iterator[Finding]:
    """The partitions of all its topics are dealt out to a group's members in turn."""
    for name, read in seen.needs.topics_of.items():
        group = seen.groups.get(name)
        topics = [topic for each in read if (topic := seen.cluster.topic(each)) is not None]
        partitions = sum(len(topic.partitions) for topic in topics)
        if group is None or isinstance(group, str) or not topics or len(group.hosts) <= partitions:
            continue
        fact = f"group {name} has {len(group.hosts)} members for {partitions} partitions: some are idle"
        fix = f"--alter --topic {topics[0].name} --partitions {_enough(topics, len(group.hosts))}"
        yield doubtful("topics", fact, f"{_kafka('topics', seen)} {fix}")


def _enough(topics: Sequence[SeenTopic], members: int) -> int:
    """Partitions of the first topic with which each member has one."""
    return members - sum(len(topic.partitions) for topic in topics[1:])


def _missing(seen: Seen, name: str) -> Finding:
    fix = f"convex-messaging topics create {name} --yes"
    if seen.settings.create_topics:
        return doubtful("topics", f"{name} is not there; the service makes it when it starts", fix)
    return wrong("topics", f"{name} is not there, and create_topics is off", fix)


def _of_copies(seen: Seen, topic: SeenTopic) -> Iterator[Finding]:
    brokers, name = len(seen.cluster.brokers), topic.name
    if leaderless := [each.id for each in topic.partitions if each.leader is None]:
        fact = f"{name} has no leader for its partitions {', '.join(map(str, leaderless))}"
        yield wrong("topics", fact, "start the brokers that have their copies")
    if topic.replicas == 1:
        fact = f"{name} has one copy: what it holds is gone with its broker"
        yield doubtful("topics", fact, _fix_of_copies(name, brokers))
    in_sync = seen.number(name, "min.insync.replicas")
    if topic.replicas >= _SAFE_REPLICAS and in_sync == 1:
        fact = f"{name} takes a message as written when one broker has it (min.insync.replicas is 1)"
        yield doubtful("topics", fact, _config(seen, name, "min.insync.replicas=2"))


def _fix_of_copies(name: str, brokers: int) -> str:
    if brokers == 1:
        return "a cluster of one broker is for development: give it two more"
    copies = min(_SAFE_REPLICAS, brokers)
    return (
        f"make it with more: convex-messaging topics create {name} --replication {copies} --yes; one that "
        "holds messages is given copies by kafka-reassign-partitions"
    )


def _of_retention(seen: Seen, topic: SeenTopic) -> Iterator[Finding]:
    kept = seen.number(topic.name, "retention.ms")
    if kept is not None and 0 <= kept < _A_DAY_MS:
        fact = (
            f"{topic.name} keeps a message for {kept / 3_600_000:.3g} h: an outage of that length loses some"
        )
        yield doubtful("topics", fact, _config(seen, topic.name, "retention.ms=604800000"))


def of_compression(seen: Seen) -> Iterator[Finding]:
    missing = codecs_missing()
    used = {seen.config(topic.name, "compression.type") or "" for topic in seen.cluster.topics}
    if unread := sorted(used & missing):
        fact = f"topics are compressed with {', '.join(unread)}, which this Python cannot read"
        yield wrong("compression", fact, "pip install 'convex-messaging-fastapi[compression]'")
    elif missing:
        fact = (
            f"this Python reads gzip; producers that choose {', '.join(sorted(missing))} are not understood"
        )
        yield doubtful("compression", fact, "pip install 'convex-messaging-fastapi[compression]'")
    else:
        yield good("compression", "gzip, lz4, snappy and zstd can be read")


def of_letters(seen: Seen) -> Iterator[Finding]:
    name = seen.needs.letters
    topic = seen.cluster.topic(name)
    if topic is None:
        yield _no_letters(seen, name)
        return
    if "compact" in (seen.config(name, "cleanup.policy") or ""):
        fact = f"{name} is compacted: a letter removes an older one of the same key"
        yield wrong("dead letters", fact, _config(seen, name, "cleanup.policy=delete"))
        return
    limit = seen.number(name, "max.message.bytes")
    others = [seen.number(each, "max.message.bytes") for each in seen.needs.topics]
    largest = max((other for other in others if other is not None), default=0)
    if limit is not None and limit < largest:
        fact = f"{name} takes {limit} bytes, and a topic takes {largest}: large letters are cut"
        yield doubtful("dead letters", fact, _config(seen, name, f"max.message.bytes={2 * largest + 65536}"))
        return
    yield good("dead letters", f"{name} is there, with {len(topic.partitions)} partitions")


def _no_letters(seen: Seen, name: str) -> Finding:
    if name in seen.cluster.forbidden:
        return skipped("dead letters", f"these credentials may not see {name}")
    if seen.cluster.rights is not None and "CREATE" not in seen.cluster.rights:
        fact = f"{name} is not there, and these credentials may make no topic"
        return doubtful(
            "dead letters", fact, f"convex-messaging topics create {name} --yes, by somebody who may"
        )
    return good("dead letters", f"{name} is not there; the service makes it when it starts")


def of_states(seen: Seen) -> Iterator[Finding]:
    name = seen.needs.states
    if seen.cluster.topic(name) is None:
        yield good("states", f"{name} is not there; the first replay makes it")
        return
    policy = seen.config(name, "cleanup.policy")
    if policy is None:
        yield skipped("states", f"these credentials may not describe the configuration of {name}")
    elif policy != "compact":
        fact = f"{name} has cleanup.policy={policy}: what was done about a letter is forgotten"
        yield wrong("states", fact, _config(seen, name, "cleanup.policy=compact"))
    else:
        yield good("states", f"{name} is compacted")


def of_groups(seen: Seen) -> Iterator[Finding]:
    for name, group in seen.groups.items():
        if isinstance(group, str):
            yield skipped("group", group)
        elif not group.hosts:
            yield good("group", f"{name} has no member now ({group.state})")
        else:
            members = "1 member" if len(group.hosts) == 1 else f"{len(group.hosts)} members"
            yield good("group", f"{name} has {members} ({group.state})")


def of_rights(seen: Seen) -> Iterator[Finding]:
    unmet = [need for need in seen.needs.rights if _is_unmet(seen, need)]
    for need in unmet:
        fact = f"no {need.operation} on {need.kind} {need.name}: {need.what_for}"
        fix = _acl(seen, f"--operation {need.operation.capitalize()} --{need.kind} {need.name}")
        yield doubtful("rights", fact, fix) if need.optional else wrong("rights", fact, fix)
    if not unmet:
        told = any(topic.rights is not None for topic in seen.cluster.topics)
        yield good("rights", "all that is needed") if told else skipped("rights", "the brokers tell none")


def _is_unmet(seen: Seen, need: Need) -> bool:
    """False too where that is not known: of a topic that is not there, nobody is told."""
    if need.kind == "group":
        group = seen.groups.get(need.name)
        if isinstance(group, str):
            return "READ on group" in group
        return group is not None and group.rights is not None and need.operation not in group.rights
    if need.name in seen.cluster.forbidden:
        return True
    topic = seen.cluster.topic(need.name)
    return topic is not None and topic.rights is not None and need.operation not in topic.rights


async def of_transactions(inspector: Inspector, seen: Seen, seconds: float) -> AsyncIterator[Finding]:
    """Under an id of its own, which no replay uses: asking fences whoever uses the same one."""
    error = await _no_transactions(inspector, f"{seen.needs.letters}/doctor", seconds)
    if error is None:
        yield good("transactions", "replays can be written in transactions")
        return
    right = f"--operation Write --transactional-id {seen.needs.letters}/ --resource-pattern-type prefixed"
    fix = "can the cluster make and lead its topic __transaction_state?"
    fact = f"none may be written: {error}; replays need them"
    yield doubtful("transactions", fact, _acl(seen, right) if error.problem == "not_authorized" else fix)


async def _no_transactions(inspector: Inspector, id: str, seconds: float) -> TransportError | None:
    """Why not. The first of all who ask has a cluster make a topic for them, which takes a moment."""
    said: TransportError | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            said = await _refusal(inspector, id)
            while said is not None and said.problem != "not_authorized":
                await asyncio.sleep(_AGAIN_SECONDS)
                said = await _refusal(inspector, id)
            return said
    return said or TransportError("no answer in time")


async def _refusal(inspector: Inspector, id: str) -> TransportError | None:
    try:
        await inspector.claim_transactions(id)
    except TransportError as error:
        return error
    return None


def of_cluster(seen: Seen) -> Iterable[Finding]:
    for check in (of_topics, of_compression, of_letters, of_states, of_groups, of_rights):
        yield from check(seen)


def _config(seen: Seen, topic: str, value: str) -> str:
    return f"{_kafka('configs', seen)} --alter --topic {topic} --add-config {value}"


def _acl(seen: Seen, right: str) -> str:
    return (
        f"{_kafka('acls', seen)} --add --allow-principal User:{seen.settings.sasl_username or 'NAME'} {right}"
    )


def _kafka(tool: str, seen: Seen) -> str:
    return f"kafka-{tool}.sh --bootstrap-server {seen.settings.bootstrap_servers}"
