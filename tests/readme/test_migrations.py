"""The guides for who comes from elsewhere: what they say of either library is in that one."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from convex_messaging_fastapi.policies import SubscriberOptions
from tests.readme.reading import PAGES, blocks
from tests.support.services import clean_environment

GUIDES = ("from-faststream.md", "from-aiokafka.md", "from-dotnet.md")


def rows(page: str) -> list[tuple[str, str]]:
    """Theirs and ours, of the table of calls."""
    table = PAGES[page].partition("## Call by call\n")[2].partition("\n## ")[0]
    lines = [line.replace(r"\|", "/") for line in table.splitlines() if line.startswith("|")]
    return [
        (theirs.strip(), ours.strip())
        for theirs, ours in (line.strip("|").split(" | ") for line in lines[2:])
    ]


def keywords(texts: list[str]) -> set[str]:
    """Names with `=` behind them in pieces of code."""
    code = " ".join(piece for text in texts for piece in re.findall(r"`([^`]+)`", text))
    return set(re.findall(r"(?<![\w.{])([a-z_]+)=", code))


def parameters(*functions: Any) -> set[str]:
    return {name for function in functions for name in inspect.signature(function).parameters}


@pytest.mark.parametrize("page", GUIDES)
def test_each_call_has_ours_beside_it(page: str) -> None:
    found = rows(page)
    assert len(found) > 10
    assert all(theirs and ours for theirs, ours in found)


@pytest.mark.parametrize("page", GUIDES)
def test_the_choices_that_are_ours_are_in_the_code(page: str) -> None:
    options = set(SubscriberOptions.__dataclass_fields__)
    ours = {"key", "headers", "topic_prefix", "by", "open", "attempts", "max_records", "max_wait_seconds"}
    ours |= {"middleware", "observers", "asyncapi"}
    assert keywords([ours for _, ours in rows(page)]) <= options | ours


def theirs_of(page: str) -> str:
    (block,) = (block for block in blocks(PAGES[page]) if block.language == "py")
    return block.text


def test_what_is_said_of_aiokafka_is_in_it() -> None:
    known = parameters(AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaProducer.send, AIOKafkaConsumer.getmany)
    known |= parameters(AIOKafkaConsumer.subscribe)
    assert keywords([theirs for theirs, _ in rows("from-aiokafka.md")]) <= known
    verbs = set(
        re.findall(
            r"(?:consumer|producer)\.(\w+)\(", " ".join(theirs for theirs, _ in rows("from-aiokafka.md"))
        )
    )
    assert verbs
    assert not [
        verb for verb in verbs if not (hasattr(AIOKafkaConsumer, verb) or hasattr(AIOKafkaProducer, verb))
    ]


def test_the_service_of_aiokafka_is_one(tmp_path: Path) -> None:
    """It is imported; what it does on a broker is aiokafka's matter."""
    compile_in_a_new_process(theirs_of("from-aiokafka.md"), tmp_path)


def test_the_service_of_faststream_is_one(tmp_path: Path) -> None:
    pytest.importorskip("faststream", reason="only `make bench` and `make test-long` install FastStream")
    compile_in_a_new_process(theirs_of("from-faststream.md"), tmp_path)


def compile_in_a_new_process(text: str, folder: Path) -> None:
    ast.parse(text)
    (folder / "theirs.py").write_text(text)
    environment = clean_environment()
    ran = subprocess.run(
        [sys.executable, "-c", "import theirs; assert theirs.app.title"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_what_is_said_of_faststream_is_in_it() -> None:
    broker = pytest.importorskip("faststream.kafka", reason="only `make bench` installs it").KafkaBroker
    known = parameters(broker, broker.subscriber, broker.publish, broker.publish_batch)
    known |= parameters(broker().subscriber("t").__call__) | {"application", "registry"}
    assert keywords([theirs for theirs, _ in rows("from-faststream.md")]) <= known
    policies = {policy.name for policy in import_module("faststream").AckPolicy}
    assert set(re.findall(r"AckPolicy\.(\w+)", PAGES["from-faststream.md"])) == policies
