"""Looks after what became of the copies of a job: committed past by their group, or buried again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import DecodeError, TransportError
from convex_messaging_fastapi.messages import DeadLetterMessage
from convex_messaging_fastapi.messages.copies import JOB, LETTER
from convex_messaging_fastapi.operations.replaying.outage import Outlook
from convex_messaging_fastapi.records import Record, TopicPartition, header_text
from convex_messaging_fastapi.transport.base import LogRange, LogReader

EVERY_SECONDS = 1.0


class Following:
    """The copies of one job in one group. Looks at most once a second, and only while copies are out."""

    def __init__(self, logs: LogReader, clock: Clock, group: str, job: str, dead_letters: str) -> None:
        self._logs, self._clock = logs, clock
        self.group: str = group
        self._job, self._dead_letters = job, dead_letters
        self.outlook: Outlook = Outlook()
        self._looked_at = float("-inf")
        self._read_to: Mapping[TopicPartition, LogRange] | None = None

    async def begin(self) -> None:
        """Letters from here on may be about copies of the job. Raises `TransportError`."""
        self._read_to = await self._logs.ranges(self._dead_letters)

    async def look(self) -> None:
        now = self._clock.now()
        if not self.outlook.out or now - self._looked_at < EVERY_SECONDS:
            return
        self._looked_at = now
        try:
            await self._look_for_letters()
            stored = await self._logs.committed(self.group)
        except TransportError:
            return  # no news: what cannot be asked now is asked again in a second
        offsets = {where: position.offset for where, position in stored.items()}
        self.outlook.committed(offsets, self._clock.now())

    async def _look_for_letters(self) -> None:
        before, there = self._read_to or {}, await self._logs.ranges(self._dead_letters)
        news = {
            where: LogRange(max(first, before[where].end) if where in before else first, end)
            for where, (first, end) in there.items()
        }
        news = {where: span for where, span in news.items() if span.first < span.end}
        if news:
            async for records in self._logs.read(news):
                self.outlook.failed_again(letters_of_job(records, self._job))
        self._read_to = there


def letters_of_job(records: Sequence[Record], job: str) -> Iterable[str]:
    """Of each letter about a copy of this job, which letter was copied."""
    wanted = job.encode()
    for record in records:
        # Looked for in the bytes first: letters of others come by the thousand in an outage.
        if record.value is None or wanted not in record.value:
            continue
        try:
            headers = DeadLetterMessage.model_validate_json(record.value).original_headers()
        except (ValueError, DecodeError):
            continue
        letter = header_text(headers, LETTER)
        if header_text(headers, JOB) == job and letter:
            yield letter
