"""Reads letters again that a scan has found, and shows each with what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.operations.known_states import read_histories
from convex_messaging_fastapi.operations.letters import id_of, letter_of
from convex_messaging_fastapi.operations.rows import DUPLICATE, STATES
from convex_messaging_fastapi.operations.scanning import TURN_BYTES, Scan, Scanner
from convex_messaging_fastapi.operations.states import StateOfLetter
from convex_messaging_fastapi.operations.values import Letter
from convex_messaging_fastapi.records import utc
from convex_messaging_fastapi.transport.base import LogReader

EACH_BYTES = 20_000
"""What a small letter counts for in a turn of the loop: to show it takes ten times as long as to scan it."""

MOST_HISTORIES = 1000
"""For more letters at once the changes of each are not read."""

Histories = Mapping[tuple[int, int], StateOfLetter]


class LetterReader:
    """Reads letters by their rows. `own_topic` is this bus's dead-letter topic."""

    def __init__(self, scanner: Scanner, reader: LogReader, own_topic: str, state_topic: str) -> None:
        self._scanner, self._reader = scanner, reader
        self._own_topic, self._state_topic = own_topic, state_topic

    async def letters(
        self, scan: Scan, rows: Sequence[int], retention_ms: Mapping[str, int], *, whole: bool
    ) -> AsyncGenerator[tuple[int, Letter], None]:
        """Each row with its letter, in the order of offsets; those that are gone by now are left out.

        `retention_ms` says for how long each topic keeps a letter at least. Raises `LettersUnavailable`.
        Whoever leaves it early closes it (`aclosing`).
        """
        histories, spent = await self._histories(scan, rows), 0
        async with aclosing(self._scanner.records(scan.rows, rows)) as records:
            async for row, record in records:
                told = await self._scanner.told(record)
                letter = letter_of(record, told, self._own_topic, whole=whole)
                yield row, self._with_state(letter, scan, row, histories, retention_ms)
                spent += EACH_BYTES + letter.size
                if spent > TURN_BYTES:
                    spent = 0
                    await asyncio.sleep(0)

    def _with_state(
        self, letter: Letter, scan: Scan, row: int, histories: Histories, retention_ms: Mapping[str, int]
    ) -> Letter:
        links, code = scan.links, scan.rows.state[row]
        stands_for_it = links.stands_for.get(row, row) if code == DUPLICATE else row
        kept = scan.states.of(scan.rows.place(stands_for_it))
        history = None if kept is None else histories.get((kept.partition, kept.at))
        newer = links.failed_as.get(stands_for_it)
        kept_for_ms = retention_ms.get(letter.place.topic)
        others = [stands_for_it, *links.duplicates.get(stands_for_it, ())]
        return replace(
            letter,
            state=STATES[scan.rows.state[stands_for_it]],
            history=() if history is None else history.changes,
            duplicates=tuple(scan.rows.place(other) for other in others if other != row),
            failed_as=None if newer is None else id_of(scan.rows.place(newer), self._own_topic),
            expires_at=None if kept_for_ms is None else utc(letter.place.timestamp_ms + kept_for_ms),
        )

    async def _histories(self, scan: Scan, rows: Sequence[int]) -> Histories:
        if len(rows) > MOST_HISTORIES:
            return {}
        kept = [scan.states.of(scan.rows.place(scan.links.stands_for.get(row, row))) for row in rows]
        with suppress(TransportError):  # the state itself is known, and that is what counts
            return await read_histories(
                self._reader, self._state_topic, [each for each in kept if each is not None]
            )
        return {}
