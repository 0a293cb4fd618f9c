"""The Dockerfile and the compose file, as far as they can be held to the truth without an engine."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI

from convex_messaging_fastapi.settings import MessagingSettings
from tests.support.waiting import until
from tools.kafka.common import free_ports
from tools.kafka.jars import NEWEST
from tools.processes import Child

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, flags=re.MULTILINE)


def command() -> list[str]:
    """The container's command; a command that is not in exec form is no JSON and fails here."""
    (said,) = instructions("CMD")
    words: list[str] = json.loads(said)
    return words


def option(name: str) -> str:
    return command()[command().index(name) + 1]


def test_the_container_serves_an_app_that_exists() -> None:
    module, _, name = command()[1].partition(":")
    assert command()[0] == "uvicorn"
    assert isinstance(getattr(importlib.import_module(module), name), FastAPI)


def test_what_the_container_runs_answers_its_health_check_and_ends_when_told(tmp_path: Path) -> None:
    """Both commands as they stand, outside a container and on a free port."""
    port = option("--port")
    assert port == instructions("EXPOSE")[0]
    free = str(next(free_ports()))
    check: list[str] = json.loads(instructions("HEALTHCHECK")[0].partition("CMD ")[2])
    assert "/health/kafka/live" in check[-1], "a container must not be restarted because Kafka is away"
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    served = Child(
        [word.replace(port, free) for word in command()], tmp_path / "log", cwd=ROOT, env=environment
    )
    asked = [word.replace(port, free) for word in check]
    until(lambda: _succeeds(asked, environment) or not served.alive, 30, "the health check to succeed")
    assert served.alive, served.tail()
    assert served.terminate(35) in (0, -signal.SIGTERM), served.tail()


def test_the_container_is_not_root_and_stops_within_its_grace() -> None:
    (user,) = instructions("USER")
    assert user not in ("root", "0")
    bus = MessagingSettings.model_fields["shutdown_timeout_seconds"].default
    needed = int(option("--timeout-graceful-shutdown")) + bus
    assert needed < int(SERVICES["app"]["stop_grace_period"].removesuffix("s"))


def test_what_the_image_copies_is_let_in() -> None:
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for copied in instructions("COPY"):
        words = copied.split()
        if words[0].startswith("--"):
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, pattern) for pattern in let_in), source


def test_what_builds_the_package_is_of_a_known_version_too() -> None:
    """pip looks for it by itself, in a place of its own, where the ordinary constraints do not count."""
    known = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {re.split(r"[<>=~! ]", name, maxsplit=1)[0] for name in needed} <= set(known)
    builds = [words for words in instructions("RUN") if "pip install" in words]
    assert all("-c constraints.txt" in words for words in builds)
    assert "--build-constraint constraints.txt" in builds[-1]
    assert builds[0].endswith(" pip"), "an older installer does not know that option"


def test_the_image_is_built_with_a_python_that_the_package_supports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = set(re.findall(r"^FROM python:([\d.]+)-slim", DOCKERFILE, flags=re.MULTILINE))
    assert len(versions) == 1
    assert f"Programming Language :: Python :: {versions.pop()}" in project["classifiers"]


def test_the_app_waits_for_a_healthy_kafka_of_the_version_that_is_tested() -> None:
    kafka, app = SERVICES["kafka"], SERVICES["app"]
    assert kafka["image"] == f"apache/kafka:{NEWEST}"
    assert app["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert kafka["healthcheck"]["test"][0] == "CMD"
    assert f"INTERNAL://{app['environment']['KAFKA_BOOTSTRAP_SERVERS']}" in advertised(kafka)
    assert "HOST://localhost:9092" in advertised(kafka)


def test_kafka_runs_without_zookeeper_and_with_one_broker() -> None:
    settings = SERVICES["kafka"]["environment"]
    assert settings["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert {v for k, v in settings.items() if k.endswith(("REPLICATION_FACTOR", "MIN_ISR"))} == {1}
    mapped = {pair.split(":")[0] for pair in settings["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    assert mapped == {listener.split(":")[0] for listener in settings["KAFKA_LISTENERS"].split(",")}
    volume = SERVICES["kafka"]["volumes"][0].split(":")
    assert volume[0] in COMPOSE["volumes"]
    assert volume[1] == settings["KAFKA_LOG_DIRS"]


def test_the_browser_comes_only_when_asked_for() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["browser"]
    browser = SERVICES["browser"]["environment"]
    assert (
        browser["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"]
        == SERVICES["app"]["environment"]["KAFKA_BOOTSTRAP_SERVERS"]
    )


def test_nothing_is_offered_to_the_network() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def advertised(kafka: dict[str, Any]) -> list[str]:
    listeners: str = kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    return listeners.split(",")


def _succeeds(words: list[str], environment: dict[str, str]) -> bool:
    return (
        subprocess.run(words, env=environment, capture_output=True, timeout=30, check=False).returncode == 0
    )
