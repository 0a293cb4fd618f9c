"""The first commands, as they are typed: a new environment, the package, a test that passes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.readme.reading import block
from tests.support.services import ROOT, clean_environment

LEFT_BEHIND = shutil.ignore_patterns(".*", "build", "dist", "venv", "tests", "benchmarks", "__pycache__")


@pytest.mark.faults  # it takes long: packages are fetched
@pytest.mark.timeout(600)
def test_the_first_commands_work_in_a_new_environment(tmp_path: Path) -> None:
    """One shell for all of them, as the reader has, which begins in the checkout."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=LEFT_BEHIND)
    (tmp_path / "orders.py").write_text(block("class CardDeclined").text)
    typed = [
        block("pip install . uvicorn").text,
        "uvicorn --version && cp ../orders.py test_orders.py",
        block("pytest test_orders.py").text,
        "pwd && python -c 'import convex_messaging_fastapi; print(convex_messaging_fastapi.__file__)'",
    ]
    outside = Path(sys._base_executable).parent  # type: ignore[attr-defined]  # CPython's own, of no stub
    environment = clean_environment() | {"PATH": f"{outside}:{os.environ['PATH']}"}
    del environment["PYTHONPATH"]
    ran = subprocess.run(
        ["bash", "-ec", "\n".join(typed)],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    *_, folder, imported = ran.stdout.splitlines()
    assert "4 passed" in ran.stdout
    assert folder == str(tmp_path / "users")
    assert imported.startswith(str(checkout / "venv")), "installed, not found in the checkout"
