"""What tests tell reaches whoever looks on, also from processes that run them side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = """
from tests.support.telling import Telling

def pytest_configure(config):
    config.pluginmanager.register(Telling(config), Telling.NAME)
"""
TESTS = """
from tests.support.telling import telling

def test_one(request):
    telling(request.config).tell("told by one")
    telling(request.config).summary.append("used by one")

def test_other(request):
    telling(request.config).tell("told by the other")
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_every_line_is_printed_and_the_summary_at_the_end(processes: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "test_of_two.py").write_text(TESTS)
    options = ("-p", "xdist", "-p", "no:cacheprovider", "-n", processes)
    alone = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env=os.environ | alone,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    lines = ran.stdout.splitlines()
    assert {"told by one", "told by the other", "used by one"} <= set(lines), ran.stdout + ran.stderr
    assert "2 passed" in lines[-1]
