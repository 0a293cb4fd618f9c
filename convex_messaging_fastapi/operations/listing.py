"""One page of letters, newest first, and the groups of all that a filter means."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Counted:
    """What is counted of one group's letters."""

    states: Counter[int] = field(default_factory=Counter)
    matched: int = 0
    failed_again: int = 0
    first_ms: int = 0
    last_ms: int = 0
    oldest_open_expires_ms: int | None = None


class Listing:
    """One page in the making: looks at every row once, and reads only what is shown."""

    def __init__(self, scan: Scan, selector: Selector, own_topic: str) -> None:
        self._scan, self._selector, self._own_topic = scan, selector, own_topic
        self._groups: dict[int, _Counted] = {}
        self._newest: list[tuple[Newness, int]] = []
        self._behind = 0

    async def page(
        self, reader: LetterReader, retention_ms: Mapping[str, int], limit: int, after: Newness | None
    ) -> LetterPage:
        for row in range(len(self._scan.rows)):
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
        rows, selector = self._scan.rows, self._selector
        counted = self._groups.get(rows.group[row])
        if counted is None:
            counted = self._groups[rows.group[row]] = _Counted()
        counted.states[rows.state[row]] += 1
        failed_at_ms = rows.failed_at_ms[row]
        if not counted.first_ms or failed_at_ms < counted.first_ms:
            counted.first_ms = failed_at_ms
        counted.last_ms = max(counted.last_ms, failed_at_ms)
        counted.failed_again += rows.replays[row] > 0
        expires_at_ms = selector.expires_at_ms(row)
        if rows.state[row] == _OPEN and expires_at_ms is not None:
            counted.oldest_open_expires_ms = min(
                expires_at_ms, counted.oldest_open_expires_ms or expires_at_ms
            )
        if selector.passes_state(row):
            counted.matched += 1
            self._offer(row, limit, after)

    def _offer(self, row: int, limit: int, after: Newness | None) -> None:
        """Keep it if it is one of the newest behind the cursor."""
        new = _newness(self._scan.rows, row)
        if after is not None and new >= after:
            return
        self._behind += 1
        if len(self._newest) < limit:
            heapq.heappush(self._newest, (new, row))
        elif limit:
            heapq.heappushpop(self._newest, (new, row))

    def _shown_groups(self) -> Iterator[LetterGroup]:
        for number, counted in self._groups.items():
            if counted.matched:
                yield self._shown(self._scan.groups[number], counted)

    def _shown(self, group: FoundGroup, counted: _Counted) -> LetterGroup:
        key, expires_ms = group.key, counted.oldest_open_expires_ms
        sample = self._scan.links.stands_for.get(group.row, group.row)
        return LetterGroup(
            id=group.id,
            topic=key.topic,
            group=key.group,
            handler=key.handler,
            exception_type=key.exception_type,
            frame=group.frame,
            counts={STATES[code]: count for code, count in sorted(counted.states.items())},
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
