"""Replayers that die at every step, meet each other, or stand still: each letter is copied exactly once."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import multiprocessing.process
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.consuming.dead_letters.building import build_dead_letter
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.messages.copies import COUNT, GROUP, HANDLER, ORIGINAL
from convex_messaging_fastapi.parts import parts_for, transport_for
from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.base import NewTopic, Verdict
from tests.faults.conftest import Report
from tests.faults.replaying import COPIES_WRITTEN, DONE, FENCED, PASSES, Orders, operate, operator, work
from tests.support.independent import Independent
from tests.support.waiting import until
from tools.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka

PARTITIONS = 4
SEED = 16
FAST = 20_000.0
RATE = 200.0
WITHIN = 120.0
"""Seconds that an operator may take for anything."""


class Size(NamedTuple):
    """So many letters, of which `twice` were written twice; at a rate go `paced` of them."""

    letters: int
    twice: int
    paced: int


IN_CI, ALL = Size(6_000, 50, 2_000), Size(60_000, 500, 5_000)
SIZES = [
    pytest.param(IN_CI, marks=pytest.mark.faults, id="6000"),
    pytest.param(ALL, marks=pytest.mark.long, id="60000"),
]
every_size = pytest.mark.parametrize("size", SIZES)

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["tests.faults.replaying"])


class Operator:
    """A process that replays, and what it tells."""

    def __init__(self, bootstrap: str, prefix: str, orders: Orders) -> None:
        self._told, telling = forked.Pipe(duplex=False)
        self.process = forked.Process(target=operate, args=(bootstrap, prefix, orders, telling))
        self.process.start()
        telling.close()
        self.latest: Mapping[str, Any] = {}
        self.done: list[int] = []
        """How many there were, each time that it told so."""

    def until_done(self, count: int) -> None:
        """Wait until it has told of so many."""
        self._until(lambda: self.done[-1:] >= [count])

    def until_reached(self) -> None:
        """Wait until it is at the point where it stands still."""
        self._until(lambda: "reached" in self.latest)

    def ended(self) -> int:
        """Its exit code, once it has one."""
        while self._hears():
            pass
        self.process.join(WITHIN)
        assert self.process.exitcode is not None
        return self.process.exitcode

    def go_on(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self._told.close()

    def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self._hears(), f"it has ended, and told at last {self.latest}"

    def _hears(self) -> bool:
        assert self._told.poll(WITHIN), f"it tells nothing more since {self.latest}"
        try:
            self.latest = self._told.recv()
        except EOFError:
            return False
        self.done += [self.latest["done"]] if "done" in self.latest else []
        return True


class Stage:
    """Letters of one group under a prefix of their own, and operators and workers that are processes."""

    def __init__(self, cluster: Cluster, prefix: str, folder: Path) -> None:
        self.cluster, self.prefix, self.group = cluster, prefix, f"{prefix}-billing"
        self.witness = Independent(cluster.witnessed)
        settings = MessagingSettings(bootstrap_servers=cluster.bootstrap, topic_prefix=prefix)
        self.parts = parts_for(settings, transport_for(settings, SystemClock()), SystemClock())
        self.naming = self.parts.naming
        self.replays, self.payments = self.naming.replay(self.group), f"{prefix}.payments"
        self.letters = 0
        self._ledger = folder / "ledger"
        self._operators: list[Operator] = []
        self._workers: list[multiprocessing.process.BaseProcess] = []

    async def prepare(self, letters: int, twice: int = 0) -> None:
        """Letters about messages of which nothing is in their own topic."""
        self.letters = letters
        for topic in (self.naming.dead_letters, self.payments, self.replays):
            await self.parts.admin.ensure_topic(NewTopic(topic, PARTITIONS))
        producer = self.parts.transport.producer()
        await producer.start()
        for partition in range(PARTITIONS):
            numbers = range(partition, letters, PARTITIONS)
            again = [number for number in range(twice) if number % PARTITIONS == partition]
            written = [self._letter(number) for number in (*numbers, *again)]
            where = TopicPartition(self.naming.dead_letters, partition)
            while written:
                sent = await producer.send(where, written)
                assert sent.verdict is Verdict.WRITTEN, sent
                written = written[sent.taken :]
        await producer.stop(self.parts.clock.now() + 5)
        # a group that the cluster knows
        self.witness.commit(self.group, self.payments, 0, 0)

    def start(self, rate: float = FAST, *orders: Any) -> Operator:
        made = Operator(self.cluster.bootstrap, self.prefix, Orders(rate, *orders))
        self._operators.append(made)
        return made

    def run(self, rate: float = FAST, *orders: Any) -> int:
        return self.start(rate, *orders).ended()

    def hire(self) -> multiprocessing.process.BaseProcess:
        """A worker: a member of the group that failed, and of another that reads the same topic."""
        arguments = self.cluster.bootstrap, self.prefix, self.group, str(self._ledger)
        process = forked.Process(target=work, args=arguments)
        process.start()
        self._workers.append(process)
        return process

    def close(self) -> None:
        for made in self._operators:
            made.close()
        for process in self._workers:
            process.kill()
            process.join()

    def handled(self) -> dict[tuple[str, str], set[bytes]]:
        """By group and handler, the messages that were given to it."""
        handled: dict[tuple[str, str], set[bytes]] = {}
        for line in self._ledger.read_bytes().splitlines() if self._ledger.exists() else ():
            group, handler, value = line.split()
            handled.setdefault((group.decode(), handler.decode()), set()).add(value)
        return handled

    def copies(self) -> Counter[tuple[bytes | None, ...]]:
        """How often each original was copied, as librdkafka counts it: place, group, handler, which time."""
        wanted = (ORIGINAL, GROUP, HANDLER, COUNT)
        return Counter(
            tuple(dict(record.headers).get(name) for name in wanted)
            for record in self.witness.read(self.replays)
        )

    def states(self) -> Mapping[bytes, str]:
        """The latest state of each letter."""
        read = self.witness.read(self.naming.dead_letter_states)
        return {
            record.key: json.loads(record.value)["State"]
            for record in read
            if record.key is not None and record.value is not None and record.key.startswith(b"letter/")
        }

    def until_aborted(self) -> None:
        """Wait until the cluster has ended, by itself, what somebody left open."""

        def is_open() -> bool:
            committed = self.witness.ends(self.replays, isolation="read_committed")
            return committed != self.witness.ends(self.replays)

        until(lambda: not is_open(), WITHIN, "an overdue transaction to be ended")

    def assert_exact(self) -> None:
        group = self.group.encode()
        expected: Counter[tuple[bytes | None, ...]] = Counter(
            (self._place(n).encode(), group, b"settle", b"1") for n in range(self.letters)
        )
        copies = self.copies()
        assert sorted((expected - copies).keys())[:3] == [], "missing"
        assert (copies - expected).most_common(3) == [], "too often"
        assert Counter(self.states().values()) == {"replayed": self.letters}

    def _place(self, number: int) -> str:
        return f"{self.payments}/{number % PARTITIONS}/{number}/{1_700_000_000_000 + number}"

    def _letter(self, number: int) -> OutgoingRecord:
        topic, partition, offset, at = self._place(number).split("/")
        headers = (("message-id", b"m-%d" % number),)
        record = Record(
            topic, int(partition), int(offset), int(at), b"k%d" % (number % 97), b"v%d" % number, headers
        )
        failure = Failure(
            exception_type="ValueError", text="no", stack="", attempts=1, group=self.group, handler="settle"
        )
        return build_dead_letter(record, failure, datetime(2026, 11, 30, tzinfo=UTC), 1_000_000)


@pytest.fixture
def stage(kafka: Cluster, unique: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka, unique, tmp_path)
    yield stage
    stage.close()


@every_size
@pytest.mark.timeout(1800)
def test_replayers_and_workers_that_are_killed_at_every_step_copy_and_handle_each_letter_once(
    stage: Stage, report: Report, size: Size
) -> None:
    """Each at a time that a seed tells, and a worker with it."""
    asyncio.run(stage.prepare(size.letters, size.twice))
    chance, began = random.Random(SEED), time.monotonic()
    for point, passes in PASSES.items():
        worker = stage.hire()
        code = stage.run(FAST, point, chance.randrange(passes or size.letters // 2_000))
        assert code == -signal.SIGKILL, f"{point}: {code}"
        worker.kill()
    stage.hire()
    last = stage.start()
    assert last.ended() == DONE
    assert stage.run() == DONE, "and nothing is left"
    report(f"{size.letters} letters, {len(PASSES)} kills, {time.monotonic() - began:.1f} s")
    stage.assert_exact()
    values = {b"v%d" % number for number in range(size.letters)}
    until(lambda: stage.handled().get((stage.group, "settle")) == values, WITHIN, "all to be handled")
    assert set(stage.handled()) == {(stage.group, "settle")}, "nobody else was given any"


@every_size
@pytest.mark.timeout(600)
def test_two_at_once_copy_each_letter_once_and_one_is_told_that_the_other_took_over(
    stage: Stage, size: Size
) -> None:
    asyncio.run(stage.prepare(size.letters, size.twice))
    first = stage.start(RATE)  # so that it is not done before the second begins
    first.until_done(1)
    assert stage.run() == DONE
    assert first.ended() == FENCED
    assert "another operator" in first.latest["fenced"] or "taken over" in first.latest["fenced"]
    stage.assert_exact()


@every_size
@pytest.mark.timeout(600)
def test_one_that_stood_still_past_its_timeout_goes_on_or_finds_all_done_and_copies_nothing_twice(
    kafka: Cluster, unique: str, tmp_path: Path, size: Size
) -> None:
    """Amid a transaction, for longer than the cluster lets it be open; another does all the work, or none."""
    stages = [Stage(kafka, f"{unique}-{name}", tmp_path) for name in ("helped", "alone")]
    try:
        frozen: list[Operator] = []
        for stage in stages:
            asyncio.run(stage.prepare(size.letters, size.twice))
            frozen.append(stage.start(FAST, COPIES_WRITTEN, 3, signal.SIGSTOP))
        for stage, one in zip(stages, frozen, strict=True):
            one.until_reached()
            stage.until_aborted()
            stage.hire()  # a replay into a group that handles nothing for a minute stops by itself
        assert stages[0].run() == DONE
        for one in frozen:
            one.go_on()
        assert [one.ended() for one in frozen] == [FENCED, DONE]
        for stage in stages:
            stage.assert_exact()
            written = stage.witness.read(stage.replays, isolation="read_uncommitted")
            assert len(written) > size.letters, "copies that were taken back"
    finally:
        for stage in stages:
            stage.close()


@every_size
@pytest.mark.timeout(300)
def test_a_rate_is_kept_within_five_per_cent_and_killed_half_way_it_goes_on(
    stage: Stage, report: Report, size: Size
) -> None:
    asyncio.run(stage.prepare(size.paced))
    first = stage.start(RATE)
    first.until_done(size.paced // 2)
    first.process.kill()
    first.ended()
    done = sum(stage.copies().values())
    assert size.paced // 2 <= done < size.paced
    second = stage.start(RATE)
    assert second.ended() == DONE
    assert len(second.done) >= (size.paced - done) / RATE, "how far it has come is known each second"
    stage.assert_exact()
    times = sorted(record.timestamp_ms for record in stage.witness.read(stage.replays))[done:]
    slice_of = int(RATE / 10)
    measured = (len(times) - slice_of) / ((times[-1] - times[0]) / 1000)
    report(f"rate {RATE}: {measured:.1f} a second")
    assert measured == pytest.approx(RATE, rel=0.05)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_job_is_stopped_from_another_process_within_one_slice(stage: Stage) -> None:
    async def stop() -> int:
        """How many copies there are when it says that the job has stopped."""
        actions = operator(stage.cluster.bootstrap, stage.prefix)
        (running,) = await actions.jobs()
        stopped = await actions.stop_job(running.id, by="bob")
        assert (stopped.status, stopped.error) == ("stopped", "stopped by bob")
        return sum((await asyncio.to_thread(stage.copies)).values())

    asyncio.run(stage.prepare(2_000))
    owner = stage.start(RATE)
    owner.until_done(1)
    copied = asyncio.run(stop())
    assert owner.ended() == FENCED
    assert "stopped by bob" in owner.latest["fenced"]
    assert sum(stage.copies().values()) == copied < stage.letters
    assert len(stage.states()) == copied
    assert stage.run() == DONE
    stage.assert_exact()
