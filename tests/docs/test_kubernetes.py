"""The YAML for Kubernetes: it parses, asks what there is, and gives a stop the time that it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from convex_messaging_fastapi import MessagingSettings
from tests.docs.commands import understood
from tests.readme.reading import PAGES, blocks

PAGE = PAGES["kubernetes.md"]
DOCUMENTS: list[Any] = [
    document
    for block in blocks(PAGE)
    if block.language == "yaml"
    for document in yaml.safe_load_all(block.text)
]
PATHS = {
    f"{name}Probe": f"/health/kafka/{path}" for name, path in [("startup", "startup"), ("liveness", "live")]
}
PATHS["readinessProbe"] = "/health/kafka/ready"


def pods(found: Any) -> Iterator[Any]:
    """The specification of each pod, at any depth."""
    if isinstance(found, dict):
        if "containers" in found:
            yield found
        for inner in found.values():
            yield from pods(inner)
    elif isinstance(found, list):
        for inner in found:
            yield from pods(inner)


PODS = list(pods(DOCUMENTS))


def test_there_is_a_service_a_worker_and_what_belongs_to_them() -> None:
    kinds = [document["kind"] for document in DOCUMENTS if "kind" in document]
    assert kinds == ["Deployment", "ConfigMap", "PodDisruptionBudget", "Deployment", "Job", "CronJob"]
    assert len(PODS) == 4


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod["containers"][0]["name"])
def test_probes_ask_what_is_served_at_a_port_that_is_open(pod: Any) -> None:
    (container,) = pod["containers"]
    ports = {port["name"] for port in container.get("ports", ())}
    asked = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    assert {name: get["path"] for name, get in asked.items()} == {name: PATHS[name] for name in asked}
    assert {get["port"] for get in asked.values()} <= ports


def test_a_pod_has_the_time_that_the_arithmetic_of_stopping_gives_it() -> None:
    pod = PODS[0]
    (container,) = pod["containers"]
    command = container["command"]
    open_requests = int(command[command.index("--timeout-graceful-shutdown") + 1])
    leaving = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    stopping = MessagingSettings.model_fields["shutdown_timeout_seconds"].default
    needed = leaving + open_requests + stopping + 5

    assert pod["terminationGracePeriodSeconds"] >= needed
    assert PODS[1]["terminationGracePeriodSeconds"] >= stopping + 5
    seconds = [int(number) for number in re.findall(r"^\| [^|]+ \| (\d+) \|", PAGE, re.MULTILINE)]
    assert seconds == [leaving, open_requests, stopping, 5]
    assert f"| **{needed:g}** |" in PAGE


def test_every_command_is_one_that_there_is() -> None:
    commands = [container["command"] for pod in PODS for container in pod["containers"]]
    ours = [command for command in commands if command[0] == "convex-messaging"]
    assert len(ours) == 3
    for command in ours:
        understood(command[1:])
    assert shlex.join(commands[0]).startswith("uvicorn orders:app --host 0.0.0.0 ")


def test_every_variable_is_a_setting() -> None:
    given = dict[str, str]()
    for document in DOCUMENTS:
        given |= document.get("data", {})
    named = {entry["name"] for pod in PODS for entry in pod["containers"][0].get("env", ())}
    named |= {entry["name"] for document in DOCUMENTS for entry in document.get("env", ())}
    settings = {f"KAFKA_{name.upper()}" for name in MessagingSettings.model_fields}
    assert given.keys() | named <= settings
    values: dict[str, Any] = {name.removeprefix("KAFKA_").lower(): value for name, value in given.items()}
    MessagingSettings(**values, sasl_password=SecretStr("secret"))  # refuses what does not fit together
