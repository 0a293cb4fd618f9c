"""Every piece of Python in the README and the pages does what they say, in a new process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.readme.commands import begun_with, served_with
from tests.readme.further_scenes import SCENES
from tests.readme.reading import FIRST, PYTHON, block
from tests.support.services import ROOT, clean_environment, service

ORDERS = "class CardDeclined"
"""In the whole file that shows how to test."""


def test_each_piece_of_python_does_what_it_says() -> None:
    environment = clean_environment() | served_with("memory://") | ELSEWHERE
    command = [sys.executable, "-W", "error", "-m", "tests.readme.further_scenes"]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr[-8000:]


ELSEWHERE = {"APP_AUDIT__BOOTSTRAP_SERVERS": "memory://", "APP_AUDIT__CONSUMER_GROUP": "audit"}
"""The second cluster of the piece that has one."""


def test_no_piece_of_python_is_left_out() -> None:
    played = [block(scene.showing).place for scene in SCENES.values()]

    assert sorted([*played, block(ORDERS).place]) == sorted(found.place for found in PYTHON)


def test_the_example_of_a_test_is_the_file_that_is_run_with_ours() -> None:
    assert block(ORDERS).text == (ROOT / "tests" / "readme" / "test_orders_example.py").read_text()


def test_the_example_of_a_test_passes_in_a_folder_without_any_setting(tmp_path: Path) -> None:
    """As its page says it: `pytest test_orders.py`, which knows nothing of how pytest is set up here."""
    (tmp_path / "test_orders.py").write_text(block(ORDERS).text)
    (command,) = begun_with("pytest")
    ran = subprocess.run(
        [sys.executable, "-m", *command, "--rootdir", tmp_path, "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]


def test_all_pieces_together_are_one_program(tmp_path: Path) -> None:
    """Whoever puts one after the other at the end of `main.py` has a service that starts and stops."""
    at_the_end = [block(scene.showing) for scene in SCENES.values() if scene.place == "end"]
    pieces = [found.text for found in sorted(at_the_end, key=lambda found: (found.page, found.line))]
    (tmp_path / "main.py").write_text("\n\n".join([FIRST, *pieces]))
    with service(tmp_path, served_with("memory://") | ELSEWHERE, app="main:app") as app:
        app.wait_ready().wait_for("/health/audit/ready", 200, 10)
        app.terminate()
    assert "Application shutdown complete" in app.tail()
