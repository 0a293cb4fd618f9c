"""A bus with handlers that nothing has started says so when the process ends, once; no other does."""

from __future__ import annotations

import gc
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convex_messaging_fastapi import ConfigurationError, MessageBus, Subscribers, bus, declarations
from convex_messaging_fastapi.unstarted import Unstarted
from convex_messaging_fastapi.wiring import Wiring
from tests.bus.support import memory_bus
from tests.support.fresh import Fresh

ROOT = Path(__file__).parents[1]


async def welcome(message: dict[str, Any]) -> None:
    """A handler that does nothing."""


async def other(message: dict[str, Any]) -> None:
    """Another."""


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Unstarted:
    """Knows the buses of one test alone, as if nothing else had ever happened in this process."""
    fresh = Unstarted()
    for module in (bus, declarations):
        monkeypatch.setattr(module, "unstarted", fresh)
    monkeypatch.setattr("convex_messaging_fastapi.unstarted._has_spawned", lambda: False)
    return fresh


def said(noted: Unstarted, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    noted.say()
    return [record.getMessage() for record in caplog.records]


def test_all_handlers_that_nothing_started_are_told_of_in_one_line(
    noted: Unstarted, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, late = memory_bus(), memory_bus(), Subscribers()
    one.subscriber("t")(welcome)
    two.include(late)
    late.receiver("q")(other)
    (line,) = said(noted, caplog)
    assert "welcome" in line
    assert "other" in line
    assert "include its MessagingRouter in the app" in line


async def test_of_two_the_one_that_has_not_started_is_told_of(
    noted: Unstarted, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = memory_bus(), memory_bus()
    one.subscriber("t")(welcome)
    two.subscriber("t")(other)
    async with one:
        pass
    (line,) = said(noted, caplog)
    assert "other" in line
    assert "welcome" not in line


async def test_a_bus_that_has_run_or_was_on_the_bench_or_could_not_start_is_passed_over(
    noted: Unstarted, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, tested, failed = memory_bus(), memory_bus(), memory_bus()
    for each, handler in ((ran, welcome), (tested, other), (failed, lambda message: None)):
        each.subscriber("t")(handler)
    async with ran:
        pass
    async with tested.test():
        pass
    monkeypatch.setattr(Wiring, "machine", None)
    with pytest.raises(TypeError):
        await failed.start()
    assert said(noted, caplog) == []


async def test_a_handler_that_joins_while_the_bus_runs_is_passed_over(
    noted: Unstarted, caplog: pytest.LogCaptureFixture
) -> None:
    joined = memory_bus()
    async with joined:
        await joined.subscribe("t", welcome)
    assert said(noted, caplog) == []


async def test_a_bus_whose_settings_are_refused_is_passed_over(
    noted: Unstarted, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error says what to do: to be told of a router that is included would mislead."""
    monkeypatch.setenv("KAFKA_CONCURRENCY", "many")
    served, tested = MessageBus(), MessageBus()
    served.subscriber("t")(welcome)
    tested.subscriber("t")(other)
    with pytest.raises(ConfigurationError, match="concurrency"):
        await served.start()
    with pytest.raises(ConfigurationError, match="concurrency"):
        async with tested.test():
            pass
    assert said(noted, caplog) == []


def test_a_bus_without_handlers_or_that_is_gone_is_passed_over(
    noted: Unstarted, caplog: pytest.LogCaptureFixture
) -> None:
    kept, gone = memory_bus(), memory_bus()
    gone.subscriber("t")(welcome)
    del gone
    gc.collect()
    assert said(noted, caplog) == []
    del kept


async def test_a_file_that_is_imported_twice_has_run_when_one_of_its_buses_has(
    noted: Unstarted, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As `python main.py` with `uvicorn.run("main:app")` does it."""
    file = tmp_path / "main.py"
    file.write_text(DECLARED)
    first = runpy.run_path(str(file), run_name="__main__")
    second = runpy.run_path(str(file), run_name="main")
    assert len(said(noted, caplog)) == 1
    async with second["bus"]:
        pass
    assert said(noted, caplog) == []
    del first


def test_what_a_child_imports_of_its_parents_main_file_is_passed_over(
    noted: Unstarted, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file = tmp_path / "main.py"
    file.write_text(DECLARED)
    kept = runpy.run_path(str(file), run_name="__mp_main__")
    assert said(noted, caplog) == []
    del kept


def test_a_parent_whose_child_may_run_it_is_silent_and_the_child_is_not(
    noted: Unstarted, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = memory_bus()
    kept.subscriber("t")(welcome)
    noted.in_the_parent_of_a_fork()
    assert said(noted, caplog) == []
    noted.in_the_child_of_a_fork()
    assert len(said(noted, caplog)) == 1
    monkeypatch.setattr("convex_messaging_fastapi.unstarted._has_spawned", lambda: True)
    assert said(noted, caplog) == []
    del kept


DECLARED = """
import os
from convex_messaging_fastapi import MessageBus, MessagingSettings
bus = MessageBus(MessagingSettings(bootstrap_servers="memory://", consumer_group="g"))
@bus.subscriber("t")
async def welcome(message: dict) -> None: ...
"""


CLOSED = """
import logging
stream = open(os.devnull, "w")
logging.basicConfig(stream=stream)
stream.close()
"""


def test_a_process_says_it_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(DECLARED)
    ended = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert ended.stderr.count("no message has reached __main__.welcome") == 1


def test_a_forked_child_says_it_at_its_end(fresh: Fresh, tmp_path: Path) -> None:
    ended = fresh.run(DECLARED + "if os.fork(): os.wait()", tmp_path)
    assert ended.err.count("no message has reached __main__.welcome") == 1
    assert ended.code == 0


def test_a_process_whose_log_is_closed_by_then_ends_without_a_word(fresh: Fresh, tmp_path: Path) -> None:
    assert fresh.run(DECLARED + CLOSED, tmp_path) == (0, "", "")


def test_how_others_log_at_the_end_stays_as_they_have_set_it(fresh: Fresh, tmp_path: Path) -> None:
    asked_last = "import atexit, logging\natexit.register(lambda: print(logging.raiseExceptions))\n"
    ended = fresh.run(asked_last + DECLARED, tmp_path)
    assert (ended.code, ended.out) == (0, "True\n")
