"""Every command of the README and the pages is one that works: targets, files, options, addresses exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docs.commands import understood
from tests.readme.commands import begun_with, lines, served_with
from tests.readme.reading import BOOK, FIRST, PAGES, PROSE, block
from tests.support.independent import Independent
from tests.support.services import ROOT, Service, clean_environment, service
from tests.support.waiting import until
from tools import welcome
from tools.kafka.cluster import Cluster

PACKAGE = "convex_messaging_fastapi"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
MADE = sorted(set(re.findall(r"(?:`|^)make ([a-z][a-z-]+)\b", BOOK, re.MULTILINE)))


def test_every_command_is_of_a_kind_that_is_looked_at_here() -> None:
    kinds = {next(word for word in shlex.split(line) if "=" not in word) for line in lines()}

    outside = {"python3", ".", "pip", "mkdir", "cd", "uvicorn", "curl", "pytest", "docker"}
    assert kinds == outside | {"make", "convex-messaging", "kafka-acls.sh"}


def test_every_command_and_option_that_is_named_exists() -> None:
    table = PAGES["command-line.md"].splitlines()
    rows = [line.split(" | ")[0] for line in table if line.startswith("| `")]
    named = {word for row in rows for word in re.findall(r"`([a-z-]+)", row)}
    helped = subprocess.run(
        [sys.executable, "-m", PACKAGE, "--help"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.partition("Commands:")[2]
    commands = {line.split()[0] for line in helped.splitlines() if re.match(r"  [a-z]", line)}
    assert named == commands


def test_what_pip_is_to_install_is_this_package_or_one_of_our_own_tools() -> None:
    tools = {re.split(r"[>=;\[]", needed)[0] for needed in PROJECT["dependency-groups"]["dev"]}
    asked = {word for words in begun_with("pip") for word in words[2:]}

    assert "." in asked
    assert asked - {"."} <= tools
    extras = re.findall(r"'\.\[(\w+)\]'", BOOK)
    assert extras
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("target", MADE)
def test_every_make_target_that_is_named_exists(target: str) -> None:
    dry = ["make", "--dry-run", "--assume-old=.venv/ready", target]
    assert subprocess.run(dry, cwd=ROOT, env=clean_environment(), capture_output=True).returncode == 0


def test_every_make_target_is_named() -> None:
    """But for those that only who works on the package needs: `make help` lists all."""
    makefile = (ROOT / "Makefile").read_text()

    assert set(MADE) <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"run", "kafka", "unit", "test", "test-faults", "bench", "help"} <= set(MADE)


def test_the_commands_below_the_first_program_work_on_a_real_server(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(FIRST)
    with service(tmp_path, served_with("memory://"), app="main:app") as app:
        app.wait_ready()
        answers = [curl(app, command) for command in curls(block("curl -X POST").text)]
        until(lambda: "welcome, ada@example.com" in app.tail(), 5, "the user to be welcomed")

    assert answers == [{"user_id": 1}, {"status": "up"}]
    for answer in ('`{"user_id":1}`', '`{"status":"up"}`', "`welcome, ada@example.com`"):
        assert answer in PROSE


def test_the_first_program_works_on_a_real_broker(kafka: Cluster, unique: str, tmp_path: Path) -> None:
    """As the README starts it, which names what creates the topics."""
    (tmp_path / "main.py").write_text(FIRST)
    own = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "KAFKA_TOPIC_PREFIX": unique}
    with service(tmp_path, served_with("localhost:9092") | own, app="main:app") as app:
        app.wait_ready()
        answers = [curl(app, command) for command in curls(block("curl -X POST").text)]
        until(lambda: "welcome, ada@example.com" in app.tail(), 15, "the user to be welcomed")

    assert answers == [{"user_id": 1}, {"status": "up"}]
    assert sum(Independent(kafka.bootstrap).ends(f"{unique}.user.created").values()) == 1


def test_without_the_variable_a_missing_topic_is_told_of(kafka: Cluster, unique: str, tmp_path: Path) -> None:
    """An error for who publishes; a warning and a reason for who subscribes."""
    (tmp_path / "main.py").write_text(FIRST)
    own = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "KAFKA_TOPIC_PREFIX": unique}
    with service(tmp_path, served_with("localhost:9092") | own | NOT_CREATED, app="main:app") as app:
        app.wait_for("/health/kafka", 200, 30)
        until(lambda: "topic_missing" in app.said("/health/kafka"), 30, "the missing topic to be told of")
        told = httpx.post(f"{app.address}/users", json={"email": "ada@example.com"}, timeout=20)
        assert told.status_code == 500
        until(lambda: "PublishFailed" in app.log.read_text(), 10, "the error to be logged")
        until(lambda: "KAFKA_CREATE_TOPICS=true" in app.log.read_text(), 10, "a warning with the remedy")


NOT_CREATED = {"KAFKA_CREATE_TOPICS": "false"}


def test_what_make_run_says_to_try_works(tmp_path: Path) -> None:
    with service(tmp_path) as app:
        app.wait_ready()
        said = welcome.text("127.0.0.1", str(app.port)).replace("\\\n", " ")
        opened = [httpx.get(word).status_code for line in opens(said) for word in line]
        *asked, dead_letters = curls(said)
        for command in asked:
            curl(app, command)
        until(lambda: curl(app, dead_letters), 10, "the declined payment among the dead letters")
        assert app.get("/users")[0]["welcomed"] == 1

    assert opened == [200, 200, 200]
    assert len(asked) == 4


def test_what_make_run_says_to_operators_is_understood() -> None:
    """On a Kafka alone: a broker in memory is inside its own process."""
    assert "convex-messaging" not in welcome.text("127.0.0.1", "8000")
    said = welcome.text("127.0.0.1", "8000", "localhost:9092")
    commands = [
        line.split("  #")[0].split()[1:] for line in said.splitlines() if "bin/convex-messaging" in line
    ]
    assert len(commands) == 4
    for words in commands:
        understood(words)


def curls(text: str) -> list[str]:
    """The curl commands of a text, comments left away."""
    return [line[line.index("curl ") :].split(" #")[0] for line in text.splitlines() if "curl " in line]


def opens(text: str) -> Iterator[list[str]]:
    """The addresses that stand alone, to be opened in a browser."""
    for line in text.splitlines():
        if "curl" not in line and (found := re.findall(r"http://\S+", line)):
            yield found


def curl(app: Service, command: str) -> Any:
    """Do what curl would, wherever the example says that it is served; not every machine has curl."""
    words = iter(shlex.split(command)[1:])
    asked: dict[str, Any] = {"method": "GET", "headers": {}}
    for word in words:
        match word:
            case "-s":
                continue
            case "-X":
                asked["method"] = next(words)
            case "-H":
                name, _, value = next(words).partition(":")
                asked["headers"][name] = value.strip()
            case "-d":
                asked |= {"method": "POST", "content": next(words)}
            case _:
                path = "/" + word.removeprefix("http://").split("/", 1)[1]
    return httpx.request(url=app.address + path, timeout=10, **asked).raise_for_status().json()


def test_docker_is_asked_for_what_is_there() -> None:
    """The port and the services are those of the files; a stop waits as long as the bus may take."""
    dockerfile, compose = (ROOT / "Dockerfile").read_text(), (ROOT / "docker-compose.yml").read_text()
    asked = {" ".join(words[1:]) for words in begun_with("docker")}
    (port,) = re.findall(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE)

    assert "build -t bets ." in asked
    assert f"run --detach --rm --name bets --publish 127.0.0.1:{port}:{port} bets" in asked
    (waited,) = (int(words[words.index("-t") + 1]) for words in begun_with("docker") if words[1] == "stop")
    assert f"stop_grace_period: {waited}s" in compose
    for profile in re.findall(r"--profile (\w+)", BOOK):
        assert f"profiles: [{profile}]" in compose
    for address in re.findall(r"http://localhost:(\d+)", PROSE):
        assert f'"127.0.0.1:{address}:{address}"' in compose
