"""Settings that pages show fit together, and what pages say of defaults and numbers is the code's."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from convex_messaging_fastapi import MessagingSettings, Speed, SubscriptionStatus, WorkerStatus
from convex_messaging_fastapi.verdicts import REASONS
from tests.readme.reading import BLOCKS, PAGES, Block

SHOWN = [block for block in BLOCKS if block.language == "ini"]


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.place)
def test_settings_fit_together(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an `.env` file has them, with files where they name some."""
    for name in os.environ:
        if name.startswith("KAFKA_"):
            monkeypatch.delenv(name)
    text = block.text.replace("/run/secrets/kafka", str(tmp_path))
    for name in re.findall(rf"{re.escape(str(tmp_path))}/(\S+)", text):
        (tmp_path / name).write_text("secret")
    (tmp_path / ".env").write_text(text)
    if "BOOTSTRAP" not in text:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker.example:9093")
    settings = MessagingSettings(_env_file=tmp_path / ".env")
    for line in text.splitlines():
        name, _, value = line.partition("=")
        assert str(getattr(settings, name.removeprefix("KAFKA_").lower())) == value.strip("'"), name
    if "sasl_password_file" in settings.model_fields_set:
        assert settings.security_protocol == "SASL_SSL"


def test_several_clouds_are_shown() -> None:
    assert {block.page for block in SHOWN} == {"managed-kafka.md", "securing.md"}
    assert len(SHOWN) >= 5


@pytest.mark.parametrize("page", ["tuning.md", "why-not.md", "kubernetes.md", "from-aiokafka.md"])
def test_defaults_are_those_of_the_code(page: str) -> None:
    """A variable, and in brackets right behind it a number without a unit, or in a table the last column."""
    defaults: dict[str, Any] = {
        f"KAFKA_{name.upper()}": field.default for name, field in MessagingSettings.model_fields.items()
    }
    told = re.findall(r"`(KAFKA_\w+)`,? \((\d[\d.]*)\)", PAGES[page])
    for row in re.findall(r"^\|.*\| ((?:`\d+`(?:, )?)+) \|$", PAGES[page], re.MULTILINE):
        line = next(line for line in PAGES[page].splitlines() if line.endswith(f"| {row} |"))
        told += zip(re.findall(r"`(KAFKA_\w+)`", line), re.findall(r"`(\d+)`", row), strict=True)
    for name, value in told:
        assert float(defaults[name]) == float(value), name
    if page in ("tuning.md", "why-not.md"):
        assert told


def test_what_is_to_be_measured_is_told() -> None:
    section = PAGES["tuning.md"].partition("## What to measure")[2].partition("\n## ")[0]
    told = {field.name for kind in (WorkerStatus, SubscriptionStatus, Speed) for field in fields(kind)}
    assert set(re.findall(r"`([a-z_0-9]+)`", section)) <= told | REASONS
