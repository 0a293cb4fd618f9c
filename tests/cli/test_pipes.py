"""Pipes that close, terminals, and signals: each command as a process of its own."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.calls import MODULE, ran
from tests.support.services import clean_environment
from tests.support.wire import WireCluster

SHOWS_A_LOT = """
from convex_messaging_fastapi import MessageBus

bus = MessageBus()
for number in range(500):
    @bus.subscriber(f"topic.{number}", id=f"handler-{number}-{'x' * 300}")
    async def handle(message: dict) -> None: ...
"""


@pytest.mark.parametrize("words", ["handlers", "handlers --json"])
def test_whoever_has_seen_enough_may_close_the_pipe(tmp_path: Path, words: str) -> None:
    """`convex-messaging handlers | head -1` is no failure, and no word of it is left on the terminal."""
    (tmp_path / "main.py").write_text(SHOWS_A_LOT)
    child = subprocess.Popen(
        [*MODULE, *words.split()],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline()
    child.stdout.close()
    try:
        assert (child.wait(60), child.stderr.read()) == (0, b"")
    finally:
        child.kill()
        child.stderr.close()


def test_a_pipe_that_was_closed_before_the_help_is_no_failure(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*MODULE, "--help"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


class Terminal:
    """A command on a pseudo-terminal, and all that it wrote there."""

    def __init__(self, child: subprocess.Popen[bytes], screen: int) -> None:
        self.child = child
        self._screen = screen
        self.written = b""

    def until(self, text: str, within: float = 60) -> None:
        while text.encode() not in self.written:
            ready, _, _ = select.select([self._screen], [], [], within)
            assert ready, f"{text!r} was not written: {self.written!r}"
            self.written += self._read()

    def rest(self) -> str:
        while more := self._read():
            self.written += more
        self.child.wait(60)
        return self.written.decode()

    def _read(self) -> bytes:
        try:
            return os.read(self._screen, 65536)
        except OSError:  # how Linux says that the other side has closed
            return b""


@contextmanager
def on_terminal(*arguments: str, folder: Path, **environment: str) -> Iterator[Terminal]:
    screen, side = pty.openpty()
    child = subprocess.Popen(
        [*MODULE, *arguments],
        cwd=folder,
        env=clean_environment() | {"TERM": "xterm-256color", "COLUMNS": "100"} | environment,
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
    )
    os.close(side)
    try:
        yield Terminal(child, screen)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait(10)
        os.close(screen)


APP = """
from convex_messaging_fastapi import MessageBus
bus = MessageBus()

@bus.subscriber("orders", id="[red]take\\x1b[31m")
async def handle(message: dict) -> None: ...
"""


def test_a_table_on_a_terminal_is_drawn_and_obeys_nobody(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    with on_terminal("handlers", folder=tmp_path) as terminal:
        heading, row = terminal.rest().splitlines()[:2]
    assert "\x1b[1m" in heading
    assert row.startswith("[red]take\\x1b[31m")
    assert "\x1b" not in row


def test_no_color_is_honoured(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    with on_terminal("handlers", folder=tmp_path, NO_COLOR="1") as terminal:
        assert "\x1b[3" not in terminal.rest()


def test_help_on_a_terminal_may_have_boxes_and_none_through_a_pipe(tmp_path: Path) -> None:
    with on_terminal("--help", folder=tmp_path) as terminal:
        assert "─" in terminal.rest()
    assert (
        "─" not in ran("--help", folder=tmp_path, environment={"FORCE_COLOR": "1", "GITHUB_ACTIONS": "1"}).out
    )


@pytest.mark.parametrize(
    "rate", ["", "--rate=1000", "--rate=0.01"], ids=["amid a read", "at a rate", "between"]
)
def test_each_line_is_written_as_it_comes_and_ctrl_c_is_130(
    tmp_path: Path, wire: WireCluster, rate: str
) -> None:
    """The lines come from a pipe that stays open, so that it waits in the midst of its work."""
    reader, writer = os.pipe()
    child = subprocess.Popen(
        [
            *MODULE,
            "publish",
            "orders",
            "--jsonl",
            "--bootstrap-servers",
            wire.bootstrap_servers,
            *([rate] if rate else []),
        ],
        cwd=tmp_path,
        env=clean_environment(),
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(reader)
    assert child.stdout is not None
    assert child.stderr is not None
    os.write(writer, b'{"id": 1}\n{"id": 2}\n')
    assert child.stdout.readline().startswith(b"convex.orders/")
    child.send_signal(signal.SIGINT)
    code, told = child.wait(60), child.stderr.read().decode()
    os.close(writer)
    child.stdout.close()
    child.stderr.close()
    assert code == 130
    assert told in {f"interrupted: {count} written to convex.orders\n" for count in (1, 2)}


def test_progress_is_for_terminals(tmp_path: Path, wire: WireCluster) -> None:
    (tmp_path / "lines").write_text('{"id": 1}\n' * 1500)
    words = (
        "publish",
        "orders",
        "@lines",
        "--jsonl",
        "--quiet",
        "--bootstrap-servers",
        wire.bootstrap_servers,
    )
    assert ran(*words, folder=tmp_path) == (0, "", "")
    with on_terminal(*words, folder=tmp_path) as terminal:
        assert "\r1,500 written to convex.orders" in terminal.rest()
        assert terminal.child.returncode == 0
