"""Help costs nothing but Typer, and a command that is written wrongly ends with 2."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.calls import MODULE, Cli, ran
from tests.support.services import ROOT, clean_environment

LOADED = """
import atexit, sys
heavy = {"aiokafka", "asyncio", "fastapi", "pydantic", "starlette"}
atexit.register(lambda: print("loaded:", *sorted(heavy & {name.partition(".")[0] for name in sys.modules})))
sys.argv[0] = "convex-messaging"
from convex_messaging_fastapi.cli import main
main()
"""

WITHOUT = """
import sys
from importlib import machinery
class Missing(machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "{missing}" else super().find_spec(name, path, target)
sys.meta_path[:] = [Missing if each is machinery.PathFinder else each for each in sys.meta_path]
from convex_messaging_fastapi.cli import main
main()
"""

FAMILIES = [
    (),
    *((word,) for word in ("doctor", "handlers", "settings", "run", "health", "publish", "tail")),
    *((word,) for word in ("lag", "pause", "resume", "relay", "asyncapi")),
    *(("outbox", word) for word in ("status", "parked", "replay", "drop")),
    *(("topics", word) for word in ("list", "show", "create")),
    *(("dead-letters", word) for word in ("list", "show", "validate", "export", "replay", "discard")),
    *(("dead-letters", word) for word in ("reopen", "jobs", "stop")),
    ("topics",),
    ("dead-letters",),
    ("outbox",),
]


@pytest.mark.parametrize("family", FAMILIES, ids=" ".join)
def test_help_loads_nothing_that_takes_long(family: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *family, "--help"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *told, loaded = done.stdout.splitlines()
    assert loaded == "loaded:"
    assert told[0].startswith(" ".join(["Usage: convex-messaging", *family]))


@pytest.mark.parametrize("family", [(), ("topics",), ("dead-letters",)], ids=" ".join)
def test_what_a_command_does_fits_in_its_line(cli: Cli, family: tuple[str, ...]) -> None:
    listed = cli(*family, "--help").out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) > 2
    assert [line for line in listed if line.endswith("...")] == []


def test_help_is_plain_through_a_pipe(cli: Cli) -> None:
    ran = cli("--help")
    assert ran.code == 0
    assert ran.out.isascii()
    assert "\x1b" not in ran.out
    assert "Exit codes: 0 done, 1 looked at and wrong, 2 wrong command" in ran.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("topcs", "list"), "Did you mean 'topics'?"),
        (("topics",), ""),
        ((), ""),
        (("topics", "list", "--wide"), "No such option"),
    ],
)
def test_a_command_that_is_written_wrongly_is_usage(cli: Cli, arguments: tuple[str, ...], told: str) -> None:
    ran = cli(*arguments)
    assert ran.code == 2
    assert told in ran.err


def test_the_version(cli: Cli) -> None:
    from convex_messaging_fastapi import __version__

    assert cli("--version") == (0, f"convex-messaging {__version__}\n", "")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_line_says_what_to_install(missing: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing), "--help"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "the command line needs Typer and Rich: pip install 'convex-messaging-fastapi[cli]'\n"
    )


def test_it_is_installed_under_its_name() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"convex-messaging": "convex_messaging_fastapi.cli:main"}


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    """By the protocol that `--install-completion` sets up for bash."""
    asked = {
        "_CONVEX_MESSAGING_COMPLETE": "complete_bash",
        "COMP_WORDS": "convex-messaging top",
        "COMP_CWORD": "1",
    }
    assert ran(folder=tmp_path, environment=asked).out.split() == ["topics"]


def test_python_m_is_the_same(tmp_path: Path) -> None:
    assert MODULE[1:] == ("-m", "convex_messaging_fastapi")
    assert ran("--version", folder=tmp_path).out.startswith("convex-messaging ")
