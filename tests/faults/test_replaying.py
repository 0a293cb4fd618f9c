"""Replayers that die at every step, meet each other, or stand still: each letter is copied exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.consuming.dead_letters.building import build_dead_letter
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.messages.copies import GROUP, HANDLER, ORIGINAL
from convex_messaging_fastapi.parts import parts_for, transport_for
from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.base import NewTopic, Verdict
from tests.faults.conftest import Report
from tests.faults.replaying import COPIES_WRITTEN, FENCED, POINTS
from tests.support.independent import Independent
from tests.support.waiting import pass_time
from tools.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

LETTERS = int(os.environ.get("REPLAY_LETTERS", "6000"))
TWICE = LETTERS // 120
RATE = 20_000.0
PAST_ITS_TIMEOUT = 16.0
"""The cluster looks for overdue transactions every 10 s, and ours may last for 5."""


class Stage:
    """Letters of one group under a prefix of their own, and operators that are processes."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self.cluster, self.prefix, self.group = cluster, prefix, f"{prefix}-billing"
        self.witness = Independent(cluster.witnessed)
        settings = MessagingSettings(bootstrap_servers=cluster.bootstrap, topic_prefix=prefix)
        self.parts = parts_for(settings, transport_for(settings, SystemClock()), SystemClock())
        self.naming = self.parts.naming
        self.processes: list[subprocess.Popen[str]] = []

    async def prepare(self, letters: int = LETTERS, twice: int = TWICE) -> None:
        for topic in (self.naming.dead_letters, f"{self.prefix}.payments"):
            await self.parts.admin.ensure_topic(NewTopic(topic, 4))
        producer = self.parts.transport.producer()
        await producer.start()
        for partition in range(4):
            written = [self._letter(number) for number in range(partition, letters, 4)]
            written += [self._letter(number) for number in range(partition, 4 * twice, 4)][:twice]
            where = TopicPartition(self.naming.dead_letters, partition)
            while written:
                sent = await producer.send(where, written)
                assert sent.verdict is Verdict.WRITTEN, sent
                written = written[sent.taken :]
        await producer.stop(self.parts.clock.now() + 5)
        # a group that the cluster knows
        self.witness.commit(self.group, f"{self.prefix}.payments", 0, 0)

    def start(self, rate: float = RATE, **environment: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.replaying", self.cluster.bootstrap, self.prefix, str(rate)],
            env={**os.environ, **{name: str(value) for name, value in environment.items()}},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, rate: float = RATE, **environment: object) -> int:
        return self.ended(self.start(rate, **environment))[0]

    def ended(self, process: subprocess.Popen[str]) -> tuple[int, dict[str, object]]:
        told, _ = process.communicate(timeout=120)
        lines = [json.loads(line) for line in told.splitlines()]
        return process.returncode, lines[-1] if lines else {}

    def close(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()

    def copies(self) -> Counter[tuple[bytes | None, ...]]:
        """How often each original was copied, as librdkafka counts it: place, group, handler."""
        wanted = (ORIGINAL, GROUP, HANDLER)
        return Counter(
            tuple(dict(record.headers).get(name) for name in wanted)
            for record in self.witness.read(self.naming.replay(self.group))
        )

    def states(self) -> Mapping[bytes, str]:
        """The latest state of each letter."""
        read = self.witness.read(self.naming.dead_letter_states)
        return {
            record.key: json.loads(record.value)["State"]
            for record in read
            if record.key is not None and record.value is not None and record.key.startswith(b"letter/")
        }

    def expected(self, letters: int = LETTERS) -> Counter[tuple[bytes | None, ...]]:
        return Counter((self._place(n).encode(), self.group.encode(), b"settle") for n in range(letters))

    def assert_exact(self, letters: int = LETTERS) -> None:
        copies, expected = self.copies(), self.expected(letters)
        assert sorted((expected - copies).keys())[:3] == [], "missing"
        assert (copies - expected).most_common(3) == [], "too often"
        assert Counter(self.states().values()) == {"replayed": letters}

    def _place(self, number: int) -> str:
        return f"{self.prefix}.payments/{number % 4}/{number}/{1_700_000_000_000 + number}"

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
def stage(kafka: Cluster, unique: str) -> Iterator[Stage]:
    stage = Stage(kafka, unique)
    yield stage
    stage.close()


@pytest.mark.timeout(600)
def test_replayers_that_are_killed_at_every_step_copy_each_letter_once(stage: Stage, report: Report) -> None:
    asyncio.run(stage.prepare())
    chance, began = random.Random(16), time.monotonic()
    for point in POINTS:
        code = stage.run(REPLAY_POINT=point, REPLAY_AFTER=chance.randint(0, 2))
        assert code == -signal.SIGKILL, f"{point}: {code}"
    assert stage.run() == 0
    assert stage.run() == 0, "and nothing is left"
    report(f"{LETTERS} letters, {len(POINTS)} kills, {time.monotonic() - began:.1f} s")
    stage.assert_exact()


@pytest.mark.timeout(300)
def test_two_at_once_copy_each_letter_once_and_one_is_told_that_the_other_took_over(stage: Stage) -> None:
    asyncio.run(stage.prepare())
    first = stage.start(rate=2000)
    assert first.stdout is not None
    assert "begun" in first.stdout.readline()
    second = stage.start()
    assert stage.ended(second)[0] == 0
    code, told = stage.ended(first)
    assert (code, "fenced" in told) == (FENCED, True)
    stage.assert_exact()


@pytest.mark.timeout(300)
def test_one_that_stood_still_past_its_timeout_adds_nothing(stage: Stage) -> None:
    """Amid a transaction, for longer than the cluster lets it be open, while another does all the work."""
    asyncio.run(stage.prepare())
    frozen = stage.start(REPLAY_POINT=COPIES_WRITTEN, REPLAY_AFTER=3, REPLAY_BY="SIGSTOP")
    _until_stopped(frozen)
    pass_time(PAST_ITS_TIMEOUT)
    assert stage.run() == 0
    frozen.send_signal(signal.SIGCONT)
    assert stage.ended(frozen)[0] in (0, FENCED)
    stage.assert_exact()


@pytest.mark.timeout(300)
def test_one_that_stood_still_alone_goes_on_by_itself(stage: Stage) -> None:
    asyncio.run(stage.prepare())
    frozen = stage.start(REPLAY_POINT=COPIES_WRITTEN, REPLAY_AFTER=3, REPLAY_BY="SIGSTOP")
    _until_stopped(frozen)
    pass_time(PAST_ITS_TIMEOUT)
    frozen.send_signal(signal.SIGCONT)
    assert stage.ended(frozen)[0] == 0
    stage.assert_exact()


@pytest.mark.timeout(300)
def test_a_rate_is_kept_within_five_per_cent_and_killed_half_way_it_goes_on(
    stage: Stage, report: Report
) -> None:
    letters, rate = 2000, 200.0
    asyncio.run(stage.prepare(letters, 0))
    process = stage.start(rate=rate)
    assert process.stdout is not None
    process.stdout.readline()
    pass_time(3)
    process.kill()
    process.communicate()
    began = len(stage.states())
    assert 0 < began < letters
    assert stage.run(rate=rate) == 0
    stage.assert_exact(letters)
    times = sorted(record.timestamp_ms for record in stage.witness.read(stage.naming.replay(stage.group)))[
        -(letters - began) :
    ]
    measured = (len(times) - 20) / ((times[-1] - times[0]) / 1000)
    report(f"rate {rate}: {measured:.1f} a second")
    assert measured == pytest.approx(rate, rel=0.05)


def _until_stopped(process: subprocess.Popen[str]) -> None:
    """It has stopped itself."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
