"""One page of letters, newest first, and the groups of all that a filter means."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import NamedTuple

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.operations.found import FoundGroup
from convex_messaging_fastapi.operations.letters import id_of
from convex_messaging_fastapi.operations.reading import LetterReader
from convex_messaging_fastapi.operations.resolving import TURN_ROWS
from convex_messaging_fastapi.operations.rows import CODES, STATES, Rows
from convex_messaging_fastapi.operations.scanning import Scan
from convex_messaging_fastapi.operations.selecting import Selector, place_of_id
from convex_messaging_fastapi.operations.values import Letter, LetterGroup, LetterPage
from convex_messaging_fastapi.policies import shown
from convex_messaging_fastapi.records import utc

MAX_LIMIT = 1000

_CURSOR = re.compile(r"(-?[0-9]{1,19}):((?:[a-zA-Z0-9._-]{1,249}/)?[0-9]{1,10}/[0-9]{1,19})")
_OPEN = CODES["open"]
_NEVER = float("inf")


class Newness(NamedTuple):
    """The order of letters: by time, and of one time by place."""

    timestamp_ms: int
    topic: str
    partition: int
    offset: int


def checked_limit(limit: int) -> int:
    """Raises `ConfigurationError` for what is no number of letters of a page."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= MAX_LIMIT:
        raise ConfigurationError(f"limit is a whole number from 0 to {MAX_LIMIT}, not {shown(limit)}")
    return limit


def cursor_of(after: str | None, own_topic: str) -> Newness | None:
    """Where the page before ended. Raises `ConfigurationError` for what is no `LetterPage.next`."""
    if after is None:
        return None
    if not isinstance(after, str) or (found := _CURSOR.fullmatch(after)) is None:
        raise ConfigurationError(f"after is the `next` of the page before, not {shown(after)}")
    return Newness(int(found[1]), *place_of_id(found[2], own_topic))


class _Counted:
    """What is counted of one group's letters. Each letter passes here, so it is plain code."""

    __slots__ = ("failed_again", "first_ms", "last_ms", "matched", "oldest_open", "states")

    def __init__(self, failed_at_ms: int) -> None:
        self.states = [0] * len(STATES)
        self.matched = 0
        self.failed_again = 0
        self.first_ms = self.last_ms = failed_at_ms
        self.oldest_open: int | None = None

    def add(self, rows: Rows, row: int) -> None:
        state, failed_at_ms = rows.state[row], rows.failed_at_ms[row]
        self.states[state] += 1
        if failed_at_ms < self.first_ms:
            self.first_ms = failed_at_ms
        elif failed_at_ms > self.last_ms:
            self.last_ms = failed_at_ms
        if rows.replays[row]:
            self.failed_again += 1
        if state == _OPEN:
            oldest = self.oldest_open
            if oldest is None or rows.timestamp_ms[row] < rows.timestamp_ms[oldest]:
                self.oldest_open = row


class Listing:
    """One page in the making: looks at every row once, and reads only what is shown."""

    def __init__(self, scan: Scan, selector: Selector, own_topic: str) -> None:
        self._scan, self._selector, self._own_topic = scan, selector, own_topic
        self._groups: dict[int, _Counted] = {}
        self._newest: list[tuple[Newness, int]] = []
        self._oldest_shown: float = -_NEVER
        """Milliseconds: none that is older is shown any more."""
        self._behind = 0

    async def page(
        self, reader: LetterReader, retention_ms: Mapping[str, int], limit: int, after: Newness | None
    ) -> LetterPage:
        for row in reversed(range(len(self._scan.rows))):  # the newest first: then few older ones are kept
            if row % TURN_ROWS == 0:
                await asyncio.sleep(0)
            if self._selector.passes_but_for_state(row):
                self._count(row, limit, after)
        rows = [row for _, row in sorted(self._newest, reverse=True)]
        found: dict[int, Letter] = {}
        async with aclosing(reader.letters(self._scan, rows, retention_ms, whole=False)) as letters:
            async for row, letter in letters:
                found[row] = letter
        problem = self._scan.states.problem
        return LetterPage(
            groups=tuple(sorted(self._shown_groups(), key=lambda group: group.last, reverse=True)),
            letters=tuple(found[row] for row in rows if row in found),
            matched=sum(counted.matched for counted in self._groups.values()),
            scanned=self._scan.scanned,
            next=self._cursor(rows[-1]) if rows and self._behind > len(rows) else None,
            truncated=self._scan.truncated,
            states_known=not problem,
            states_problem=problem,
        )

    def _count(self, row: int, limit: int, after: Newness | None) -> None:
        rows = self._scan.rows
        counted = self._groups.get(rows.group[row])
        if counted is None:
            counted = self._groups[rows.group[row]] = _Counted(rows.failed_at_ms[row])
        counted.add(rows, row)
        if self._selector.passes_state(row):
            counted.matched += 1
            if rows.timestamp_ms[row] < self._oldest_shown:
                self._behind += 1  # as nearly all of a large list, which come after newer ones
            else:
                self._offer(rows, row, limit, after)

    def _offer(self, rows: Rows, row: int, limit: int, after: Newness | None) -> None:
        """Keep it if it is one of the newest behind the cursor."""
        new = _newness(rows, row)
        if after is not None and new >= after:
            return
        self._behind += 1
        heapq.heappush(self._newest, (new, row))
        if len(self._newest) > limit:
            heapq.heappop(self._newest)
        if len(self._newest) == limit:
            self._oldest_shown = self._newest[0][0].timestamp_ms if limit else _NEVER

    def _shown_groups(self) -> Iterator[LetterGroup]:
        for number, counted in self._groups.items():
            if counted.matched:
                yield self._shown(self._scan.groups[number], counted)

    def _shown(self, group: FoundGroup, counted: _Counted) -> LetterGroup:
        key, oldest = group.key, counted.oldest_open
        expires_ms = None if oldest is None else self._selector.expires_at_ms(oldest)
        sample = self._scan.links.stands_for.get(group.row, group.row)
        return LetterGroup(
            id=group.id,
            topic=key.topic,
            group=key.group,
            handler=key.handler,
            exception_type=key.exception_type,
            frame=group.frame,
            counts={state: count for state, count in zip(STATES, counted.states, strict=True) if count},
            failed_again=counted.failed_again,
            first=utc(counted.first_ms),
            last=utc(counted.last_ms),
            error=group.error,
            sample=id_of(self._scan.rows.place(sample), self._own_topic),
            expires_at=None if expires_ms is None else utc(expires_ms),
        )

    def _cursor(self, row: int) -> str:
        place = self._scan.rows.place(row)
        return f"{place.timestamp_ms}:{id_of(place, self._own_topic)}"


def _newness(rows: Rows, row: int) -> Newness:
    return Newness(rows.timestamp_ms[row], *rows.where(row), rows.offset[row])
