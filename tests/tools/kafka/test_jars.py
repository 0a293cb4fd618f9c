"""What runs a Kafka here is found, or it is said what to install."""

from __future__ import annotations

import pytest

from tools.kafka import jars
from tools.kafka.cluster import Unavailable


def test_a_machine_without_java_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(Unavailable, match="install Java 17"):
        jars.java()
