"""The verbs of operating: each is a few lines into a room below."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from convex_messaging_fastapi.errors import ConfigurationError, LetterNotFound
from convex_messaging_fastapi.machine import Machine
from convex_messaging_fastapi.messages.pauses import PauseScope, Whom
from convex_messaging_fastapi.operations.exporting import as_json
from convex_messaging_fastapi.operations.filtering import Filter, is_id
from convex_messaging_fastapi.operations.lag import Lags, PartitionLag
from convex_messaging_fastapi.operations.listing import Listing, checked_limit, cursor_of
from convex_messaging_fastapi.operations.pausing import Pausing
from convex_messaging_fastapi.operations.reading import LetterReader
from convex_messaging_fastapi.operations.replaying import (
    MAX_REPLAYS,
    Actions,
    Asked,
    Job,
    ScannedLetters,
    To,
)
from convex_messaging_fastapi.operations.retention import Retention
from convex_messaging_fastapi.operations.scanning import FOR_ACTIONS, Scan, Scanner
from convex_messaging_fastapi.operations.selecting import Selector, place_of_id, selected
from convex_messaging_fastapi.operations.tailing import Tail, Tailing
from convex_messaging_fastapi.operations.validating import KnownHandler, Validator
from convex_messaging_fastapi.operations.values import Letter, LetterPage, Validation
from convex_messaging_fastapi.parts import Parts
from convex_messaging_fastapi.policies import shown
from convex_messaging_fastapi.records import TopicPartition

JOBS_END_SECONDS = 5.0

_OPEN = Filter()


class Operations:
    """What an operator may see and do, over the parts of one bus.

    `bus.operations` is one that knows the bus's handlers; another over `parts_for(settings, ...)` needs no
    running bus. It reads nothing and connects to nothing until a verb is called, and keeps no connection
    after it. Verbs raise `LettersUnavailable` where dead letters cannot be read. A list is at most five
    seconds old; it is of the newest 200,000 letters, and of what can be read within ten seconds.

        page = await bus.operations.dead_letters(Filter(topic="payments"))
    """

    def __init__(
        self,
        parts: Parts,
        handlers: Callable[[], Iterable[KnownHandler]] = lambda: (),
        machine: Machine | None = None,
    ) -> None:
        self._parts = parts
        self._handlers = handlers
        self._own_topic = parts.naming.dead_letters
        state_topic = parts.naming.dead_letter_states
        topics = (self._own_topic, *parts.settings.further_dead_letter_topics)
        reader = parts.transport.log_reader()
        self._scanner = Scanner(reader, parts.clock, topics, state_topic)
        self._reader = LetterReader(self._scanner, reader, self._own_topic, state_topic)
        self._retention = Retention(parts.admin, parts.clock, topics)
        source = ScannedLetters(parts, self._scanner, reader, self._retention)
        self._actions = Actions(parts, source, self._handlers_here, topics)
        self._lags = Lags(parts, machine)
        self._pausing = Pausing(parts, handlers, machine)
        self._tailing = Tailing(reader)

    async def dead_letters(
        self, wanted: Filter = _OPEN, *, limit: int = 200, after: str | None = None
    ) -> LetterPage:
        """Up to `limit` letters (0 to 1,000), newest first, and the groups of all that are meant.

        `after` is the `next` of the page before. By default the open ones. Raises `LettersUnavailable`,
        and `ConfigurationError` for arguments that cannot be meant. Not promised: that pages one after
        another are of one moment.
        """
        cursor = cursor_of(after, self._own_topic)
        checked_limit(limit)
        scan = await self._scanner.scan(wanted.text)
        retention_ms = await self._retention.milliseconds()
        listing = Listing(scan, self._selector(wanted, scan, retention_ms), self._own_topic)
        return await listing.page(self._reader, retention_ms, limit, cursor)

    async def dead_letter(self, id: str) -> Letter:
        """The whole letter, with the failed message byte for byte and its last ten changes.

        Raises `LetterNotFound` where there is none of this id, `LettersUnavailable`, and
        `ConfigurationError` for what is no id.
        """
        if not is_id(id):
            raise ConfigurationError(f"the id of a letter is such as '2/517', not {shown(id)}")
        place = place_of_id(id, self._own_topic)
        scan = await self._scanner.scan()
        if (row := scan.rows.find(*place)) is None and _may_have_missed(scan, *place):
            scan = await self._scanner.fresh(None, FOR_ACTIONS)
            row = scan.rows.find(*place)
        if row is not None:
            retention_ms = await self._retention.milliseconds()
            async with aclosing(self._reader.letters(scan, [row], retention_ms, whole=True)) as letters:
                async for _, letter in letters:
                    return letter
        raise LetterNotFound(
            f"there is no dead letter {id}: it was never written, or its topic keeps it no longer"
        )

    async def validate(self, wanted: Filter = _OPEN) -> Validation:
        """Whether today's handlers would be given these messages: decoded by their types, none is called.

        A model's own validators run. Handlers are those of this app; what another app's group would say
        is not known here. Raises `LettersUnavailable`.
        """
        validator = Validator(self._handlers())
        scan = await self._scanner.scan(wanted.text)
        async with aclosing(self._whole(wanted, scan)) as letters:
            async for letter in letters:
                await validator.check(letter)
        return validator.result(scan.truncated)

    async def export(self, wanted: Filter = _OPEN) -> AsyncGenerator[Mapping[str, Any], None]:
        """Each letter as `json.dumps` takes it, whole, in the order of offsets, all to the end of the topic.

        Without their changes where there are more than a thousand. Raises `LettersUnavailable`. Whoever
        leaves it early closes it (`aclosing`).
        """
        scan = await self._scanner.fresh(wanted.text)
        async with aclosing(self._whole(wanted, scan)) as letters:
            async for letter in letters:
                yield as_json(letter)

    async def replay(
        self,
        wanted: Filter = _OPEN,
        *,
        by: str,
        rate: float = 50.0,
        limit: int | None = None,
        to: To = "handler",
        handler: str | None = None,
        into: str | None = None,
        max_replays: int = MAX_REPLAYS,
        allow_topics: Collection[str] = (),
        anyway: bool = False,
        without_transaction: bool = False,
        expected: int | None = None,
        dry_run: bool = True,
    ) -> Job:
        """Have messages handled again whose dead letters are meant; by default only say what would be done.

        A copy goes to the failed subscription alone, or with `to="topic"` to the message's own topic, for
        all that read it (`seen_by`). `rate` is letters a second, `limit` the most letters, `by` who is told
        in states and copies. `handler` names one for letters that do not, or another than they do; `into`
        the group of letters that tell none. What was replayed `max_replays` times is left. `allow_topics`
        may be written to outside the prefix. `anyway`: although nobody reads the copies now. `expected` is
        the count of the dry run: more are refused.

        Without `dry_run` it returns once it is under way; `wait_for` returns when it is over. It stops with
        the bus, and by itself when more than half of at least 20 settled copies fail again, or none settles
        for 60 s. Run again, it does what is left. Each letter is copied once; `without_transaction`, for
        clusters that forbid those, a crash may repeat a copy.

        Raises `ReplayRefused` before anything is written, `LettersUnavailable`, and `ConfigurationError`.
        Not promised: that a handler succeeds, or the order of copies against other messages of their key.
        """
        how = (by, rate, limit, to, handler, into, max_replays, allow_topics)
        whether = (anyway, without_transaction, expected, dry_run)
        return await self._actions.replay(wanted, Asked(*how, *whether))

    async def discard(
        self,
        wanted: Filter,
        *,
        by: str,
        reason: str,
        expected: int | None = None,
        dry_run: bool = True,
        without_transaction: bool = False,
    ) -> Job:
        """Mark letters as done with, so that they are neither listed as open nor replayed.

        They stay where they are, and `reopen` undoes it. `expected` and `dry_run` are as in `replay`;
        without `dry_run` it returns when it is done. Raises as `replay` does, and `ReplayFenced`.
        """
        return await self._actions.discard(
            wanted,
            by=by,
            reason=reason,
            expected=expected,
            dry_run=dry_run,
            without_transaction=without_transaction,
        )

    async def reopen(self, ids: Sequence[str], *, by: str, without_transaction: bool = False) -> Job:
        """Make letters open again, whatever was done to them. Raises as `discard` does."""
        return await self._actions.reopen(ids, by=by, without_transaction=without_transaction)

    async def jobs(self) -> tuple[Job, ...]:
        """All actions that are remembered, of every process, newest first. Raises `LettersUnavailable`."""
        return await self._actions.jobs()

    def job(self, id: str) -> Job | None:
        """An action of this process, as far as it has come; `None` for any other. Asks nobody."""
        return self._actions.job(id)

    async def wait_for(self, id: str) -> Job:
        """Return once an action of this process is over. Cancelling this ends the wait alone.

        Raises `ReplayFenced` when another operator has taken over, `LookupError` for any other id.
        """
        return await self._actions.wait_for(id)

    async def stop_job(self, id: str, *, by: str) -> Job:
        """End an action between two slices, in whichever process it runs, and return it as it ended.

        Raises `LookupError` where there is none of this id, `ReplayRefused` and `LettersUnavailable`.
        """
        return await self._actions.stop_job(id, by=by)

    async def lag(self, group: str | None = None) -> tuple[PartitionLag, ...]:
        """How far a group is behind in each partition, as the cluster sees it, at most five seconds ago.

        Without a group: in the partitions that this process owns now, with their backlog, which asks each
        leader once. Raises `TransportError`, and `ConfigurationError` without a group where no bus runs.
        Not promised: that all partitions were asked at one moment.
        """
        return await self._lags.lag(group)

    async def tail(self, topic: str, *, after: str | None = None, limit: int = 50) -> Tail:
        """The newest records of a topic, up to `limit` (1 to 200), or those behind `after`: a tail's `next`.

        `topic` is with or without the prefix. Keys and values are cut to 4,096 bytes. It joins no group,
        commits nothing, and waits for nothing to come. Raises `TransportError`, `TopicUnavailable` where
        there is no such topic, and `ConfigurationError`. Not promised: that no record is passed over; how
        many were is said.
        """
        return await self._tailing.tail(self._parts.naming.topic(topic), after, limit)

    def whom(self, subscription: str, *, group: str | None = None) -> Whom:
        """Whom `pause` and `resume` would mean by these names. Asks nobody.

        Raises `ConfigurationError` where no such handler is known, or several are. Not promised: that
        there is one, for an app whose handlers are not known here.
        """
        return self._pausing.whom(subscription, group)

    async def pause(
        self,
        subscription: str,
        *,
        group: str | None = None,
        scope: PauseScope = "fleet",
        by: str,
        reason: str | None = None,
    ) -> None:
        """Let a handler begin nothing new until `resume`: within five seconds wherever its service runs.

        What runs finishes, and the member stays in its group. Nothing more of its topics is fetched, so
        other handlers of these topics in the same group soon stop with it. A pause of the fleet outlasts
        restarts; `scope="process"` is for this process alone, at once and until it stops. `group` is needed
        where several have a handler of this id, and for groups of other services. The latest word counts,
        whoever said it.

        Raises `ConfigurationError` where no such handler is known, and `TransportError` where
        `{prefix}.control` cannot be made or written. Not promised: that every process has heard of it by
        then: one without Read on that topic does not.
        """
        await self._pausing.pause(self.whom(subscription, group=group), scope, by, reason)

    async def resume(
        self,
        subscription: str,
        *,
        group: str | None = None,
        scope: PauseScope = "fleet",
        by: str,
        reason: str | None = None,
    ) -> None:
        """Let a handler go on that was paused, and close its breaker where that is open.

        Arguments and errors are those of `pause`. `scope="process"` goes on in this process alone, also
        where the fleet was told to pause.
        """
        await self._pausing.resume(self.whom(subscription, group=group), scope, by, reason)

    async def stop(self) -> None:
        """End every action of this process between two slices, or after five seconds wherever it is."""
        await self._actions.stop(JOBS_END_SECONDS)

    def _handlers_here(self) -> Mapping[str, Collection[str]]:
        here: dict[str, set[str]] = {}
        for known in self._handlers():
            here.setdefault(known.group, set()).add(known.id)
        return here

    async def _whole(self, wanted: Filter, scan: Scan) -> AsyncGenerator[Letter, None]:
        retention_ms = await self._retention.milliseconds()
        rows = await selected(self._selector(wanted, scan, retention_ms), scan)
        async with aclosing(self._reader.letters(scan, rows, retention_ms, whole=True)) as letters:
            async for _, letter in letters:
                yield letter

    def _selector(self, wanted: Filter, scan: Scan, retention_ms: Mapping[str, int]) -> Selector:
        now_ms = self._parts.clock.unix() * 1000
        prefix = self._parts.settings.topic_prefix
        return Selector(wanted, scan, self._own_topic, prefix, retention_ms, now_ms)


def _may_have_missed(scan: Scan, topic: str, partition: int, offset: int) -> bool:
    """The log names a letter as soon as it is written, and a scan may be five seconds old."""
    return scan.truncated != "" or offset >= scan.ends.get(TopicPartition(topic, partition), 0)
