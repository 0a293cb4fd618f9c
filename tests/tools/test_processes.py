"""Nothing that a run of ours started stays behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from tools.processes import Child
from tools.waiting import until


def test_children_die_with_a_session_that_is_killed(tmp_path: Path) -> None:
    session = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from tools.processes import Child, remove_at_end
        folder = Path(sys.argv[1])
        (folder / "data").mkdir()
        remove_at_end(folder / "data")
        child = Child(["sleep", "600"], folder / "log")
        (folder / "pid").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    ended = subprocess.run([sys.executable, "-c", session, str(tmp_path)], check=False, timeout=30)
    assert ended.returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not _runs(pid), 10, "the watchdog to kill what its session left")
    until(lambda: not (tmp_path / "data").exists(), 10, "the watchdog to remove its data")


def test_a_child_tells_how_it_ended(tmp_path: Path) -> None:
    child = Child(["sh", "-c", "echo hello; exit 3"], tmp_path / "log")
    assert child.wait(10) == 3
    assert child.tail() == "hello"
    other = Child(["sleep", "600"], tmp_path / "log")
    assert other.terminate(10) == -signal.SIGTERM


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    # a killed orphan may stay as a zombie where nothing reaps it
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
