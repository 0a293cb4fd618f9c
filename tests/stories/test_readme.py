"""The README keeps its word: its examples run, its commands work, and what it names is there."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import httpx
import pytest
import yaml

import convex_messaging_fastapi
from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingSettings
from tests.support.services import ROOT, Service, clean_environment, service
from tests.support.waiting import until
from tools import welcome

README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Fence(NamedTuple):
    language: str
    text: str


FENCES = [Fence(*found) for found in FENCE.findall(README)]
PYTHON = [fence.text for fence in FENCES if fence.language == "python"]


def fence(containing: str) -> str:
    return next(fence.text for fence in FENCES if containing in fence.text)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The README's first example, saved as `main.py` and imported with the settings that it is run with."""
    for name, value in served_with().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.py").write_text(PYTHON[0])
    spec = importlib.util.spec_from_file_location("main", tmp_path / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def served_with() -> dict[str, str]:
    """The variables that stand before `uvicorn main:app` in the README."""
    command = next(line for line in fence("uvicorn main:app").splitlines() if "uvicorn main:app" in line)
    return dict(word.split("=", 1) for word in shlex.split(command) if "=" in word)


async def test_the_first_example_welcomes_a_user(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = httpx.ASGITransport(example.app)
    async with (
        example.app.router.lifespan_context(example.app),
        httpx.AsyncClient(transport=transport, base_url="http://users") as http,
    ):
        created = await http.post("/users", json={"email": "ada@example.com"})
        health = await http.get("/health/kafka/startup")

    assert (created.status_code, created.json()) == (201, {"user_id": 1})
    assert health.json() == {"status": "up"}
    assert capsys.readouterr().out == "welcome, ada@example.com\n", "handled before the bus had drained"


def test_the_commands_below_the_first_example_work_on_a_real_server(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(PYTHON[0])
    with service(tmp_path, served_with(), app="main:app") as app:
        app.wait_ready()
        answers = [curl(app, command) for command in curls(fence("uvicorn main:app"))]
        until(lambda: "welcome, ada@example.com" in app.tail(), 5, "the user to be welcomed")

    assert answers == [{"user_id": 1}, {"status": "up"}]


async def test_the_testing_example_passes(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    names = vars(example)
    exec(compile(fence("async def test_"), "README.md", "exec"), names)  # noqa: S102

    await names["test_a_new_user_is_welcomed"]()

    assert capsys.readouterr().out == "welcome, ada@example.com\n"


def test_the_example_of_what_a_handler_may_be_can_be_declared() -> None:
    class BetPlaced(ConvexMessage):
        bet_id: int

    class Session: ...

    names: dict[str, Any] = {**vars(convex_messaging_fastapi), "BetPlaced": BetPlaced, "Session": Session}
    exec("from fastapi import Depends", names)  # noqa: S102
    names |= {"Annotated": Annotated, "get_session": Session, "bus": MessageBus()}
    exec(compile(fence("async def settle"), "README.md", "exec"), names)  # noqa: S102


@pytest.mark.parametrize("source", PYTHON)
def test_every_example_is_python(source: str) -> None:
    compile(source, "README.md", "exec")


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

    assert opened == [200, 200]
    assert len(asked) == 4


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


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)\b", README)) - {"it", "them"}))
def test_every_make_target_that_is_named_exists(target: str) -> None:
    dry = ["make", "--dry-run", "--assume-old=.venv/ready", target]
    assert subprocess.run(dry, cwd=ROOT, env=clean_environment(), capture_output=True).returncode == 0


def test_every_variable_that_is_named_is_one_of_a_setting() -> None:
    named = set(re.findall(r"\bKAFKA_[A-Z_]+\b", README))

    assert named == {f"KAFKA_{name.upper()}" for name in MessagingSettings.model_fields} - {
        "KAFKA_OAUTH_TOKEN_PROVIDER"
    }


def test_every_call_on_the_bus_that_is_named_exists() -> None:
    called = set(re.findall(r"\bbus\.(\w+)\b", README)) - {"py"}

    assert {"publish", "send", "subscribe", "unsubscribe", "receive", "include", "test", "lifespan"} <= called
    assert not [verb for verb in called if not hasattr(MessageBus, verb)]


def test_every_file_that_is_linked_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)

    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_a_pod_has_the_time_that_the_arithmetic_of_stopping_gives_it() -> None:
    """The YAML parses, its probes ask paths that are served, and the grace period covers every step."""
    spec = yaml.safe_load(fence("terminationGracePeriodSeconds"))["spec"]
    (container,) = spec["containers"]
    command = container["command"]
    open_requests = int(command[command.index("--timeout-graceful-shutdown") + 1])
    leaving = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    stopping = MessagingSettings.model_fields["shutdown_timeout_seconds"].default

    assert spec["terminationGracePeriodSeconds"] >= leaving + open_requests + stopping + 5
    probes = {container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
    assert probes == {"/health/kafka/startup", "/health/kafka/live", "/health/kafka/ready"}
