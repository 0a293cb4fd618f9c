"""Whether a test that finds no real Kafka is skipped, or fails as CI has it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import pytest

from tools.kafka.cluster import Unavailable

REQUIRED = os.environ.get("REQUIRE_KAFKA") == "1"


Started = TypeVar("Started")


def start_or_skip(ends: ExitStack, opening: AbstractContextManager[Started]) -> Started:
    """What `opening` gives, until `ends` close; where that is `Unavailable` the test is skipped or fails."""
    try:
        return ends.enter_context(opening)
    except Unavailable as reason:
        if REQUIRED:
            pytest.fail(f"REQUIRE_KAFKA=1, but there is no real Kafka: {reason}", pytrace=False)
        pytest.skip(f"no real Kafka: {reason}")
