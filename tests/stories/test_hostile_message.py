"""One hostile message for the example app as two processes: neither falls silent, and the next is handled."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.stories.conftest import Fleet
from tests.support.background import at_work
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)

SIZE = 700_000
HANDLED_WITHIN = 5.0
ANSWERED_WITHIN = 1.0
KEY = "user-1"
"""Of all of them: so the good one is behind the hostile one."""

HOSTILE: Mapping[str, str] = {
    "digits for a whole number": '{"UserId":1,"Stake":1,"Card":"x","BetId":1.' + "1" * SIZE + "}",
    "digits for a decimal": '{"UserId":1,"BetId":1,"Card":"x","Stake":1.' + "1" * SIZE + "}",
    "digits as text": '{"UserId":1,"BetId":1,"Card":"x","Stake":"' + "1" * SIZE + '"}',
    "many exponents": '{"UserId":1,"BetId":1,"Stake":1,"Card":[' + ",".join(["1e6144"] * (SIZE // 7)) + "]}",
    "many levels": '{"UserId":1,"BetId":1,"Stake":1,"Card":' + "[" * (SIZE // 2) + "]" * (SIZE // 2) + "}",
    "many names": "{" + ",".join(f'"k{n}":0' for n in range(SIZE // 10)) + "}",
}


def test_nobody_falls_silent_and_the_next_message_is_handled(fleet: Fleet) -> None:
    fleet.wait_shared()
    topic = f"{fleet.prefix}.bet.placed"
    with watched(fleet) as late:
        for number, hostile in enumerate(HOSTILE.values(), 1):
            fleet.witness.write(topic, [hostile], key=KEY)
            fleet.witness.write(topic, [good(number)], key=KEY)
            within = f"the message behind {list(HOSTILE)[number - 1]} to be handled"
            until(lambda: fleet.handled().get("collect_stake", (0, 0))[0] == number, HANDLED_WITHIN, within)  # noqa: B023
        until(lambda: fleet.written()["dlq"] == len(HOSTILE), 30, "each to be in the dead letters")
    assert late == []


def good(number: int) -> str:
    return json.dumps({"BetId": number, "UserId": 1, "Stake": 10, "Card": "good"})


class Watcher:
    """Asks one process again and again whether it is alive."""

    def __init__(self, address: str, late: list[str]) -> None:
        self._address = address
        self._late = late
        self._ends = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self._address, timeout=10) as client:
            while not self._ends.wait(0.1):
                began = time.monotonic()
                status = client.get("/health/kafka/live").status_code
                took = time.monotonic() - began
                if status != 200 or took > ANSWERED_WITHIN:
                    self._late.append(f"{self._address} answered {status} after {took:.1f} s")

    def end(self) -> None:
        self._ends.set()


@contextmanager
def watched(fleet: Fleet) -> Iterator[list[str]]:
    """The answers that came too late, or were anything but 200."""
    late: list[str] = []
    with ExitStack() as ends:
        for process in fleet.services:
            ends.enter_context(at_work(Watcher(process.address, late), "watcher"))
        yield late
