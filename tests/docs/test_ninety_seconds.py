"""The story of a failed payment happens as its page tells it, word for word, on a real Kafka."""

from __future__ import annotations

import re
import shlex
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cli.calls import MODULE, ran
from tests.docs.commands import Typed, typed
from tests.readme.reading import Block, blocks
from tests.support.services import ROOT, clean_environment
from tests.support.waiting import until
from tools.kafka.cluster import Cluster
from tools.processes import Child

PAGE = (ROOT / "docs" / "ninety-seconds.md").read_text()

_DIFFERENT = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID"),
    (r"\b[0-9a-f]{10}\b", "NUMBER"),
    (r"\S+@\S+", "SOMEBODY"),
    (r" +", " "),
)
"""What no two runs have alike: times, ids, who runs it, and how wide a column is."""


def test_what_the_page_tells_happens(kafka: Cluster, unique: str, tmp_path: Path) -> None:
    story = Story(tmp_path, kafka.bootstrap, unique)
    try:
        for block in blocks(PAGE):
            story.play(block)
    finally:
        story.end()
    assert len([line for line in story.written if line.startswith("charged")]) == 2


class Story:
    """Two terminals in one folder, of which the first is the service's."""

    def __init__(self, folder: Path, broker: str, prefix: str) -> None:
        self._folder, self._broker, self._prefix = folder, broker, prefix
        self._environment: dict[str, str] = {}
        self._services: list[Child] = []

    @property
    def written(self) -> list[str]:
        """By every run of the service."""
        return [line for each in self._services for line in each.log.read_text().splitlines()]

    def play(self, block: Block) -> None:
        match block.language:
            case "python":
                self._save(block.text)
            case "text":
                self._wait_for(block.text.splitlines())
            case "console":
                for each in typed(block.text):
                    self._type(each)

    def end(self) -> None:
        for each in self._services:
            each.kill()

    def _save(self, text: str) -> None:
        """A whole program, or the line that begins as this one."""
        file = self._folder / "main.py"
        if file.exists():
            begins = re.escape(text.partition(":")[0])
            line = rf"^( *){begins}:.*\n"
            text, times = re.subn(line, rf"\1{text}", file.read_text(), flags=re.MULTILINE)
            assert times == 1
        file.write_text(text)

    def _wait_for(self, lines: Sequence[str]) -> None:
        until(lambda: set(lines) <= set(self.written), 60, f"{lines} in {self.written}")

    def _type(self, each: Typed) -> None:
        match shlex.split(each.text):
            case ["^C"]:
                self._services[-1].send(signal.SIGINT)
                assert self._services[-1].wait(30) == 130
            case ["export", *variables]:
                given = dict(word.split("=", 1) for word in variables)
                where = {"KAFKA_BOOTSTRAP_SERVERS": self._broker, "KAFKA_TOPIC_PREFIX": self._prefix}
                assert given["KAFKA_BOOTSTRAP_SERVERS"] == "localhost:9092"
                self._environment = given | where
            case ["convex-messaging", "run"]:
                self._serve()
                self._wait_for(each.answer)
            case ["convex-messaging", *words]:
                self._ask(words, each.answer)
            case _:
                raise AssertionError(f"nobody knows how to play {each.text}")

    def _serve(self) -> None:
        log = self._folder / f"service-{len(self._services)}.log"
        environment = clean_environment() | self._environment
        self._services.append(Child([*MODULE, "run"], log, env=environment, cwd=self._folder))

    def _ask(self, words: Sequence[str], answer: Sequence[str]) -> None:
        """Until the service has come so far, but for what writes: that is done once."""
        told, wanted = self._answer(words), alike(answer)
        deadline = time.monotonic() + (0 if _WRITES.intersection(words) else 30)
        while told != wanted and time.monotonic() < deadline:
            told = self._answer(words)
        assert told == wanted

    def _answer(self, words: Sequence[str]) -> list[str]:
        told = ran(*words, folder=self._folder, environment=self._environment)
        return alike((told.out + told.err).replace(self._prefix, "convex").splitlines())


_WRITES = frozenset({"publish", "--yes"})


def alike(lines: Sequence[str]) -> list[str]:
    """Without what no two runs have in common."""
    kept = []
    for line in lines:
        for pattern, word in _DIFFERENT:
            line = re.sub(pattern, word, line)
        kept.append(line.rstrip())
    return kept
