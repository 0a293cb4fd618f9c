"""Open pages do not hold up the end of a process."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx

from tests.console.support import PREFIX
from tests.support.services import Service

APP = "tests.console.served:app"
MEMORY = {"KAFKA_BOOTSTRAP_SERVERS": "memory://", "KAFKA_CONSUMER_GROUP": "shop"}
TAILS = 4


def test_four_open_tails_hold_up_the_end_of_the_process_by_less_than_three_seconds(tmp_path: Path) -> None:
    """uvicorn would wait for an open stream for ever, where no --timeout-graceful-shutdown is given."""
    alone = _seconds_to_end(tmp_path, "alone", tails=0)
    watched = _seconds_to_end(tmp_path, "watched", tails=TAILS)
    assert watched - alone < 3


def _seconds_to_end(folder: Path, name: str, tails: int) -> float:
    service = Service(folder, MEMORY, app=APP, name=name, options=()).start().wait_ready()
    try:
        looking, over = threading.Barrier(tails + 1), threading.Event()
        threads = [threading.Thread(target=_tail, args=(service, looking, over)) for _ in range(tails)]
        for thread in threads:
            thread.start()
        looking.wait(20)
        began = time.monotonic()
        service.terminate(within=30)
        took = time.monotonic() - began
        over.set()
        for thread in threads:
            thread.join(20)
        return took
    finally:
        service.kill()


def _tail(service: Service, looking: threading.Barrier, over: threading.Event) -> None:
    """As the page's script does it, on a connection that stays open, and without its pause."""
    path, has_begun, after = f"{PREFIX}/api/tail", False, ""
    with httpx.Client(base_url=service.address, headers={"x-user": "ada"}, timeout=10) as browser:
        while not over.is_set():
            try:
                found = browser.get(path, params={"topic": "convex.cards", "after": after})
            except httpx.TransportError:
                return  # the process has ended
            if found.status_code == 200:
                after = found.json()["next"]
            if not has_begun:
                has_begun = True
                looking.wait(20)
