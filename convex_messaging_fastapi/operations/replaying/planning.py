"""What an action would do: nothing is written here, so that it serves as the dry run as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from convex_messaging_fastapi.errors import LettersUnavailable, ReplayRefused
from convex_messaging_fastapi.operations.filtering import Filter
from convex_messaging_fastapi.operations.replaying.choosing import (
    Choice,
    Chosen,
    Ends,
    NotReplayed,
    Terms,
    against,
    group_for,
    handler_of,
)
from convex_messaging_fastapi.operations.replaying.source import LetterSource
from convex_messaging_fastapi.operations.replaying.targets import Targets
from convex_messaging_fastapi.operations.values import NOT_KNOWN, Letter
from convex_messaging_fastapi.transport.base import GroupDescription, GroupsTransport, LogReader

MOST_GROUPS_ASKED = 200

HandlersHere = Callable[[], Mapping[str, Collection[str]]]
"""The handlers of each group of this app, by their ids."""


@dataclass(slots=True)
class Plan:
    """Which letters an action is about, what becomes of them, and where copies go."""

    letters: dict[str, list[Chosen]]
    ends: Ends
    refused: Counter[NotReplayed] = field(default_factory=Counter)
    topics: dict[str, str | None] = field(default_factory=dict)
    """By group, the replay topic; `None` where copies go to the originals' own topics."""
    originals: set[str] = field(default_factory=set)
    seen_by: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def selected(self) -> int:
        return sum(map(len, self.letters.values()))

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(sorted({topic for topic in self.topics.values() if topic} | self.originals))


@dataclass(frozen=True, slots=True)
class Planner:
    """Raises `ReplayRefused`, and `LettersUnavailable` or `TransportError` where something cannot be read."""

    source: LetterSource
    groups: GroupsTransport
    logs: LogReader
    targets: Callable[[Collection[str]], Targets]
    handlers_here: HandlersHere

    async def plan(self, wanted: Filter, terms: Terms, *, limit: int | None, anyway: bool) -> Plan:
        try:
            await self.source.known()
        except LettersUnavailable as error:
            raise ReplayRefused("states_unreadable", str(error)) from error
        choice = await self.source.choose(wanted)
        plan = Plan(_limited(choice, limit).by_group(), choice.ends)
        if terms.kind == "replay" and plan.letters:
            await self._look_through(plan, terms)
            await self._find_targets(plan, terms, anyway=anyway)
        return plan

    async def _look_through(self, plan: Plan, terms: Terms) -> None:
        """What the letters themselves say."""
        here, without, omitted = self.handlers_here(), Counter[tuple[str, str]](), 0
        for chosen in plan.letters.values():
            async for letters in self.source.whole(chosen):
                for letter in letters:
                    if (why := against(letter, terms)) is not None:
                        plan.refused[why] += 1
                        continue
                    omitted += bool(letter.omitted)
                    plan.originals.add(letter.origin.topic)
                    if not terms.to_topic and _is_missing(letter, terms, here):
                        without[group_for(letter.group, terms), handler_of(letter, terms)] += 1
        if omitted:
            plan.notes.append(f"{omitted} letters do not hold their message: it is read where it stands")
        for (group, handler), count in sorted(without.items()):
            plan.notes.append(
                f"group {group} has no handler {handler!r} in this app: {count} would be buried again"
            )

    async def _find_targets(self, plan: Plan, terms: Terms, *, anyway: bool) -> None:
        groups = await self.groups.names()
        targets = self.targets(groups)
        if terms.to_topic:
            for topic in sorted(plan.originals):
                targets.original(topic)
            plan.topics = dict.fromkeys(plan.letters)
            plan.seen_by, told = await self._groups_that_read(plan.originals, groups)
            plan.notes += told
            return
        plan.originals = set()
        for group in plan.letters:
            into = group_for(group, terms)
            if into == NOT_KNOWN:
                continue
            plan.topics[group] = topic = targets.of_group(into)
            await self._must_read(into, topic, anyway=anyway)
            if into not in self.handlers_here():
                plan.notes.append(f"the handlers of group {into} are not known here")

    async def _must_read(self, group: str, topic: str, *, anyway: bool) -> None:
        """Refuse a group whose members would leave the copies where they are."""
        if anyway:
            return
        refusal = why_unread(group, topic, await self.groups.describe(group))
        if refusal is not None:
            raise refusal

    async def _groups_that_read(
        self, topics: Collection[str], groups: Collection[str]
    ) -> tuple[tuple[str, ...], list[str]]:
        if len(groups) > MOST_GROUPS_ASKED:
            return (), [f"of {len(groups)} groups none was asked whether it reads these topics"]
        readers: list[str] = []
        for group in sorted(groups):
            stored = await self.logs.committed(group)
            if any(where.topic in topics for where in stored):
                readers.append(group)
        return tuple(readers), ["readers that do not read committed may see copies that are taken back"]


def _limited(choice: Choice, limit: int | None) -> Choice:
    return choice if limit is None else Choice(choice.letters[:limit], choice.ends)


def _is_missing(letter: Letter, terms: Terms, here: Mapping[str, Collection[str]]) -> bool:
    handlers = here.get(group_for(letter.group, terms))
    return handlers is not None and handler_of(letter, terms) not in handlers


def why_unread(group: str, topic: str, described: GroupDescription) -> ReplayRefused | None:
    """Why nobody of the group would read the copies; `None` where somebody does."""
    if not described.members:
        return ReplayRefused(
            "no_live_member",
            f"group {group!r} has no member now: start its service first, or replay anyway and the "
            "copies wait for it",
        )
    if any(topic in member.topics for member in described.members):
        return None
    if described.state != "Stable":
        return ReplayRefused(
            "rebalancing",
            f"the members of group {group!r} are being dealt their partitions ({described.state}), so what "
            "they read is not known: try it again in some seconds. After one was killed that takes as long "
            "as its session_timeout_ms",
        )
    return ReplayRefused(
        "not_subscribed",
        f"no member of group {group!r} reads {topic}: its release is older than replays. Deploy it "
        "anew, or replay with to='topic'",
    )
