"""Ten thousand letters are listed in little more than the time that it takes to read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from tests.browser.letters import fail
from tests.browser.shown import USERS, console
from tests.support.independent import Independent
from tests.support.services import service
from tests.support.waiting import pass_time
from tools.kafka.cluster import Cluster

ROUNDS = 5
KEPT_SECONDS = 5.0
"""For which one scan answers for all who ask."""


@pytest.mark.long
def test_a_list_takes_at_most_three_times_as_long_as_its_letters_take_to_be_read(
    kafka: Cluster, unique: str, tmp_path: Path
) -> None:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC_PREFIX": unique,
        "KAFKA_CONSUMER_GROUP": f"{unique}-bets",
        "CONSOLE_USERS": USERS,
    }
    with service(tmp_path, environment) as app:
        app.wait_ready(60)
        fail(kafka, unique, 10_000)
        witness = Independent(kafka.bootstrap)
        read, listed = list[float](), list[float]()
        for _ in range(ROUNDS):
            read.append(took(lambda: witness.read(f"{unique}.dlq")))
            listed.append(took(lambda: console(app, "/dead-letters/list")))
            pass_time(KEPT_SECONDS)
        assert "<strong>10,000 letters</strong>" in console(app, "/dead-letters/list")
    assert median(listed) <= 3 * median(read), f"listed: {listed}, read: {read}"


def took(deed: Callable[[], object]) -> float:
    began = time.perf_counter()
    deed()
    return time.perf_counter() - began
