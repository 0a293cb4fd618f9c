"""The public API, used as services use it, passes the strictest type checkers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USES = ROOT / "tests" / "typing" / "uses.py"


def check(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_mypy_strict_accepts_the_uses_and_reports_the_mistakes() -> None:
    check("mypy", "--strict", str(USES))


@pytest.mark.timeout(300)
def test_pyright_strict_accepts_the_uses_and_reports_the_mistakes(tmp_path: Path) -> None:
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [str(USES)],
                "extraPaths": [str(ROOT)],
                "typeCheckingMode": "strict",
                "pythonVersion": "3.11",
                "reportUnnecessaryTypeIgnoreComment": True,
            }
        )
    )
    check("pyright", "--project", str(config), "--pythonpath", sys.executable)
