"""A member of a group as a process of its own, to be frozen and killed: reads `MOST` records and commits.

`python -m tests.transport.kafka.member BOOTSTRAP TOPIC GROUP LEDGER [INSTANCE]`
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convex_messaging_fastapi.clock import sleep
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position
from tests.transport.kafka.bench import Bench, Listener, Reader
from tools.processes import Child

COMMIT_EVERY_SECONDS = 0.02
MOST = 100


class Noted:
    """What such a process has noted in its ledger."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger

    def all(self, event: str) -> list[dict[str, Any]]:
        if not self._ledger.exists():
            return []
        lines = self._ledger.read_text().splitlines()
        return [noted for noted in map(json.loads, lines) if noted["event"] == event]


def start_member(
    folder: Path, bootstrap: str, topic: str, group: str, instance: str = ""
) -> tuple[Child, Noted]:
    number = len(list(folder.glob("member-*.ledger")))
    ledger = folder / f"member-{number}.ledger"
    ledger.touch()
    arguments = [bootstrap, topic, group, str(ledger), instance]
    command = [sys.executable, "-m", "tests.transport.kafka.member", *arguments]
    return Child(command, folder / f"member-{number}.log", cwd=Path(__file__).parents[3]), Noted(ledger)


class _Writer:
    def __init__(self, ledger: str) -> None:
        self._file = os.open(ledger, os.O_WRONLY | os.O_APPEND)

    def note(self, event: str, **what: Any) -> None:
        os.write(self._file, json.dumps({"event": event, **what}).encode() + b"\n")


class _Noting(Listener):
    """Tells what it is told, and commits once more at every revocation."""

    def __init__(self, writer: _Writer, topic: str) -> None:
        super().__init__()
        self._writer, self._topic = writer, topic

    def assigned(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None:
        super().assigned(epoch, positions)
        self._writer.note("assigned", starts={w.partition: p.offset for w, p in positions.items()})


async def main(bootstrap: str, topic: str, group: str, ledger: str, instance: str = "") -> None:
    bench, writer = Bench(bootstrap, real=True), _Writer(ledger)
    listener = _Noting(writer, topic)
    consumer = bench.transport(group_instance_id=instance or None).consumer(group)
    await consumer.start([topic], listener)
    reader = Reader(consumer, listener)

    async def commit(epoch: int, deadline: float) -> None:
        held = {where: Position(offset) for where, offset in reader.positions.items()}
        outcomes = await consumer.commit(epoch, held, max(deadline, bench.clock.now() + 1))
        for outcome in set(outcomes.values()):
            offsets = {w.partition: p.offset for w, p in held.items() if outcomes[w] is outcome}
            writer.note("committed", outcome=outcome.value, offsets=offsets)

    async def revoked(epoch: int, deadline: float) -> None:
        await commit(epoch, deadline)
        reader.positions.clear()

    async def committing() -> None:
        before: dict[TopicPartition, int] = {}
        while True:
            await sleep(bench.clock, COMMIT_EVERY_SECONDS)  # simulates work
            if reader.positions != before:
                before = dict(reader.positions)
                await commit(reader.epoch, 0)

    listener.on_revoked = revoked
    running = asyncio.ensure_future(committing())
    while not running.done():
        room = MOST - len(reader.records)
        for batch in (await reader.fetch(share=room)).records.values():
            writer.note("read", records=[[r.partition, r.offset] for r in batch])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
