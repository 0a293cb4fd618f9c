"""Replays and discards by the command line on a real Kafka: what is told first, and what is then done."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.calls import MODULE, Cli
from tests.cli.test_pipes import on_terminal
from tests.support.independent import Independent
from tests.support.services import Service
from tests.support.waiting import until
from tools.kafka.cluster import Cluster
from tools.kafka.common import HOST

FAILS = """
from pathlib import Path

from convex_messaging_fastapi import MessageBus, Retry

bus = MessageBus()


@bus.subscriber("payments", id="charge", retry=Retry(attempts=1))
async def charge(payment: dict[str, int]) -> None:
    if not Path("mended").exists():
        raise ValueError("declined")
    print("charged", payment["id"], flush=True)
"""

COUNT = 4


@dataclass
class Shop:
    """A service whose letters are there, and the variables by which others find them."""

    folder: Path
    service: Service
    kafka: Cluster
    environment: dict[str, str]

    @property
    def charged(self) -> int:
        return self.service.log.read_text().count("charged ")

    def mend(self) -> None:
        (self.folder / "mended").touch()

    def ends(self) -> dict[str, dict[int, int]]:
        """Of every topic but the broker's own, in which it notes groups that end when their time has come."""
        witness = Independent(self.kafka.bootstrap)
        topics = (name for name in self.kafka.metadata().topics if not name.startswith("__"))
        return {name: witness.ends(name) for name in topics}

    def written_to(self, topic: str) -> int:
        return len(
            Independent(self.kafka.bootstrap).read(f"{self.environment['KAFKA_TOPIC_PREFIX']}.{topic}")
        )

    @property
    def _is_committed(self) -> bool:
        prefix, group = (self.environment[f"KAFKA_{name}"] for name in ("TOPIC_PREFIX", "CONSUMER_GROUP"))
        return Independent(self.kafka.bootstrap).lag(group, f"{prefix}.payments") == 0

    def fail(self, cli: Cli, count: int) -> None:
        before = self.written_to("dlq")
        lines = "".join(f'{{"id": {number}}}\n' for number in range(count))
        (self.folder / "lines").write_text(lines)
        assert cli("publish", "payments", "@lines", "--jsonl", "--key-field", "id", "--quiet").code == 0
        until(lambda: self.written_to("dlq") == before + count, 60, f"{count} letters")
        until(lambda: self._is_committed, 30, "the service to commit, which it does in a topic, too")


@pytest.fixture
def shop(
    folder: Path, cli: Cli, kafka: Cluster, unique: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC_PREFIX": unique,
        "KAFKA_CONSUMER_GROUP": f"{unique}-shop",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (folder / "main.py").write_text(FAILS)
    for topic in ("payments", "dlq", f"{unique}-shop.replay"):
        kafka.create_topic(f"{unique}.{topic}", 1)
    service = Service(
        folder,
        environment,
        command=lambda app, port: (MODULE[2], "run", "--host-health", f"{HOST}:{port}"),
    )
    made = Shop(folder, service.start(), kafka, environment)
    try:
        service.wait_ready()
        made.fail(cli, COUNT)
        yield made
    finally:
        service.kill()


def test_a_dry_run_writes_nothing_and_its_count_is_what_is_done(shop: Shop, cli: Cli) -> None:
    before = shop.ends()
    discards = cli("dlq", "discard", "--text", "declined", "--reason", "test data")
    replays = cli("dlq", "replay", "--handler", "charge", "--rate", "1000")
    assert (discards.code, replays.code) == (0, 0), discards.err + replays.err
    assert discards.lines[0] == f"planned    {COUNT} letters would be discarded"
    assert replays.lines[0] == f"planned    {COUNT} letters would be replayed"
    assert shop.ends() == before

    shop.fail(cli, 1)
    before = shop.ends()
    for told in (discards, replays):
        refused = cli(*shlex.split(told.lines[-1])[1:])
        assert refused.code == 4
        assert f"{COUNT + 1} letters match by now, and {COUNT} were shown" in refused.err
    assert shop.ends() == before

    (newest,) = {row.split()[0] for row in cli("dlq", "list", "--by", "letter", "-n", "1").lines[1:]}
    assert cli("dlq", "discard", newest, "0/0", "--reason", "test data", "--yes").code == 0
    shop.mend()
    done = cli(*shlex.split(replays.lines[-1])[1:])
    assert done.code == 0, done.err
    assert done.lines[0] == f"done       {COUNT - 1} of {COUNT - 1} letters replayed"
    assert done.err == f"{COUNT} were shown, and {COUNT - 1} match by now\n"
    until(lambda: shop.charged == COUNT - 1, 30, "all to be handled")
    assert shop.written_to(f"{shop.environment['KAFKA_CONSUMER_GROUP']}.replay") == COUNT - 1


def test_a_replay_that_is_interrupted_says_how_far_it_came_and_goes_on(shop: Shop, cli: Cli) -> None:
    shop.mend()
    words = ("dead-letters", "replay", "--rate", "2", "--yes")
    with on_terminal(*words, folder=shop.folder, **shop.environment) as terminal:
        terminal.until(f"1 of {COUNT} replayed")
        terminal.child.send_signal(signal.SIGINT)
        said = terminal.rest().splitlines()[-1]
        assert terminal.child.returncode == 130
    assert said.startswith("interrupted: ")
    assert said.endswith(f" of {COUNT} replayed; run the same command to go on")
    done = cli(*words)
    assert done.code == 0, done.err
    until(lambda: shop.charged == COUNT, 30, "all to be handled")
    assert shop.written_to(f"{shop.environment['KAFKA_CONSUMER_GROUP']}.replay") == COUNT
    assert {job["status"] for job in cli("dlq", "jobs", "--json").json} <= {"done", "stopped"}
