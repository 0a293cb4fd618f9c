"""A working directory and an environment that hold no settings but those a test puts there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from convex_messaging_fastapi.settings.model import forget_what_was_told
from convex_messaging_fastapi.settings.sources import ENVIRONMENT_NAMES


class Place:
    """Where a service runs: its directory and its variables."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch
        self._dotenv: dict[str, object] = {}

    def variables(self, **values: object) -> None:
        for name, value in values.items():
            self._monkeypatch.setenv(name, str(value))

    def write(self, name: str, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        (self.directory / name).write_bytes(data)

    def folder(self, name: str, **files: str | bytes) -> None:
        (self.directory / name).mkdir(exist_ok=True)
        for file, content in files.items():
            self.write(f"{name}/{file}", content)

    def dotenv(self, **values: object) -> None:
        self._dotenv |= values
        self.write(".env", "".join(f"{name}='{value}'\n" for name, value in self._dotenv.items()))

    def appsettings(self, section: Any, environment: str | None = None) -> None:
        name = f"appsettings.{environment}.json" if environment else "appsettings.json"
        self.write(name, json.dumps({"ConvexMessaging": section}))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in list(os.environ):
        if name.upper().startswith(("KAFKA_", "CONVEXMESSAGING__")) or name in ENVIRONMENT_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def _nothing_set(place: Place) -> None:
    """Every test of settings begins in such a place, where nothing has been told."""
    forget_what_was_told()
