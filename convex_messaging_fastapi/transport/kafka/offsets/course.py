"""Where one assignment begins to read, and where it goes on when a log does not have its offset."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position, Unreadable
from convex_messaging_fastapi.transport.kafka.offsets.history import History
from convex_messaging_fastapi.transport.kafka.offsets.lookup import OffsetLookup
from convex_messaging_fastapi.transport.kafka.offsets.ownership import Holding
from convex_messaging_fastapi.transport.kafka.offsets.positions import Moves, Starts, passed


class Course:
    """Asks the cluster in tasks; the fetch takes up the answers. `news` is called when there is one."""

    def __init__(
        self, holding: Holding, lookup: OffsetLookup, history: History, news: Callable[[object], None]
    ) -> None:
        self._holding, self._lookup, self._history, self._news = holding, lookup, history, news
        self._opening: asyncio.Task[Starts] | None = None
        self._moving: dict[TopicPartition, asyncio.Task[Moves]] = {}

    def begin(self) -> None:
        """Ask where to start."""
        self._opening = asyncio.get_running_loop().create_task(self._lookup.starts(self._holding))
        self._opening.add_done_callback(self._news)

    def close(self) -> None:
        """The assignment is over: cancel what is being asked."""
        for task in (self._opening, *self._moving.values()):
            if task is not None:
                task.cancel()
        self._moving.clear()

    @property
    def in_doubt(self) -> set[str]:
        """Topics that may have been made anew: a partition of theirs is being looked into."""
        return {where.topic for where in self._moving}

    def is_moving(self, where: TopicPartition) -> bool:
        return where in self._moving

    def start(self) -> dict[TopicPartition, Position] | None:
        """Set the engine to the start positions, and return them; `None` while they are not known or due."""
        holding = self._holding
        if self._opening is None or not self._opening.done() or not holding.member.delivering:
            return None
        found = self._opening.result()
        holding.topic_ids = dict(found.topic_ids)
        positions = found.stored | found.placed | holding.moved
        for where, position in positions.items():
            holding.member.seek(where, position.offset)
        for where, moved in found.moves.items():
            self._history.lose(where, moved)
        self._history.stored |= {where: position.offset for where, position in found.stored.items()}
        return positions

    def move(self, where: TopicPartition) -> None:
        """Ask where to go on, because the log does not have our offset, or its topic was made anew."""
        moving = asyncio.get_running_loop().create_task(self._lookup.moves(self._holding, where))
        moving.add_done_callback(self._news)
        self._moving[where] = moving

    def leave_recreated(self) -> set[str]:
        """Topics that were made anew, with a move begun: brokers complain only of logs that are too short."""
        holding = self._holding
        holding.learn_topics()
        recreated = holding.recreated()
        for topic in recreated - self.in_doubt:
            one = next((where for where in holding.next if where.topic == topic), None)
            if one is not None:
                self.move(one)
        return recreated

    def found(self) -> Iterator[tuple[TopicPartition, Moves]]:
        """The answers that have come: a partition, and the moves of it and others. Losses are counted."""
        for where in [where for where, moving in self._moving.items() if moving.done()]:
            found = self._moving.pop(where).result()
            for one, moved in found.items():
                if moved.is_loss:
                    self._history.lose(one, moved)
            yield where, found

    def go_behind(self, given_up: Mapping[TopicPartition, Unreadable]) -> dict[TopicPartition, int]:
        """Skip the batches that were given up; returns the new positions."""
        gone = {}
        for where, batch in given_up.items():
            if self._holding.open and not self.is_moving(where):
                self._holding.go_to(where, batch.end)
                self._history.lose(where, passed(batch))
                gone[where] = batch.end
        return gone
