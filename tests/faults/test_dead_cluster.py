"""A cluster that is dead: the app lives, says the truth, comes back without a restart, and can be stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest

from tests.faults.conftest import Report
from tests.faults.crew import Crew, kill_brokers
from tests.support.ledgers import Reader
from tests.support.probing import LIVE, READY, probing
from tests.support.services import Service
from tests.support.waiting import until

DRAIN_SECONDS, SHUTDOWN_SECONDS = 2, 4
AROUND_SECONDS = 1.5
"""What a process takes beside its bus: to hear the signal, and to come down afterwards."""

HURRIED: Mapping[str, object] = {
    "KAFKA_DRAIN_TIMEOUT_SECONDS": DRAIN_SECONDS,
    "KAFKA_SHUTDOWN_TIMEOUT_SECONDS": SHUTDOWN_SECONDS,
    "KAFKA_PUBLISH_TIMEOUT_SECONDS": 1,
}
HANGING = ("hangs", "hangs.in.a.thread", "hangs,hangs.in.a.thread")


@pytest.mark.timeout(180)
def test_an_app_lives_through_an_outage_says_so_and_goes_on_by_itself(crew: Crew, report: Report) -> None:
    """Promises 6 and 8: live all along; ready within 15 s of the loss and 10 s of the return."""
    topic = crew.topic("work")
    app = crew.hire("app", **HURRIED).start().wait_ready()
    pid = app.pid
    with probing(app.address) as prober:
        assert give_work(app, 1) == 201
        crew.wait_handled(1)

        died_at = kill_brokers(crew.cluster)
        until(lambda: prober.first(READY, 503, died_at), 30, "ready to turn 503")
        assert give_work(app, 2) == 503
        crew.cluster.heal()
        healed_at = time.monotonic()
        until(lambda: prober.first(READY, 200, healed_at), 30, "ready to stay 200")
        until(lambda: give_work(app, 3) == 201, 30, "publishing to go on")
        published_at = time.monotonic()
        crew.wait_all_handled(crew.written(topic), 30)
        handled_at = time.monotonic()

    lost_at, back_at = prober.first(READY, 503, died_at), prober.last(READY, 503)
    assert lost_at is not None
    assert back_at is not None
    report(
        f"ready was 503 {lost_at - died_at:.1f} s after the broker died, last {back_at - healed_at:.1f} s "
        f"after it was whole again; published after {published_at - healed_at:.1f} s, all handled after "
        f"{handled_at - healed_at:.1f} s; live was {prober.statuses(LIVE)}, {len(prober.answers(LIVE))} times"
    )
    assert lost_at - died_at <= 15
    assert back_at - healed_at <= 10
    assert handled_at - healed_at <= 10
    assert prober.statuses(LIVE) == {200}
    assert (app.pid, app.alive) == (pid, True)


@pytest.mark.timeout(180)
def test_an_app_ends_in_time_though_its_handlers_never_return(crew: Crew, report: Report) -> None:
    """Promise 7, with a healthy cluster: an async handler that cannot be cancelled, a sync one, and both."""
    apps = hire_hanging(crew, "healthy")
    ends = end_all(apps, crew.ledger)

    report(", ".join(f"{end}" for end in ends))
    assert_in_time(ends)


@pytest.mark.timeout(180)
def test_an_app_ends_in_time_though_its_cluster_is_dead(crew: Crew, report: Report) -> None:
    """Promise 7: also amid a publish, with handlers that never return, and never having met it."""
    crew.topic("work")
    working = crew.hire("dead work", **HURRIED).start().wait_ready()
    assert give_work(working, 1) == 201
    hanging = hire_hanging(crew, "dead")
    crew.wait_handled(1)
    kill_brokers(crew.cluster)
    stranger = crew.hire("dead stranger", **HURRIED).start().wait_for("/health/kafka/live", 200, 30)
    assert give_work(working, 2) == 503

    ends = end_all([working, stranger, *hanging], crew.ledger)

    report(", ".join(f"{end}" for end in ends))
    assert_in_time(ends)


class End(NamedTuple):
    """How a process came to its end, in seconds: all of it, and its bus's part."""

    name: str
    code: int
    whole: float
    bus: float

    def __str__(self) -> str:
        return f"{self.name}: {self.bus:.2f} s of {self.whole:.2f}"


def hire_hanging(crew: Crew, state: str) -> list[Service]:
    """One app for each way to hang, each in a group of its own, each with handlers that hang by now."""
    for topic in ("hangs", "hangs.in.a.thread"):
        crew.witness.write(crew.topic(topic), ['{"Id":1}'])
    apps = [
        crew.hire(
            f"{state} {kind}", **HURRIED, FAULTS_TOPICS=kind, KAFKA_CONSUMER_GROUP=f"{crew.name}-{kind}"
        )
        for kind in HANGING
    ]
    before = crew.ledger.count("start")
    for app in apps:
        app.start()
    until(lambda: crew.ledger.count("start") == before + 4, 30, "four handlers to hang")
    return apps


def end_all(apps: Sequence[Service], ledger: Reader) -> list[End]:
    """SIGTERM to all at once."""

    def end(app: Service) -> tuple[int, float]:
        told_at = time.monotonic()
        return app.terminate(30), time.monotonic() - told_at

    with ThreadPoolExecutor(len(apps)) as threads:
        ended = list(threads.map(end, apps))
    return [
        End(app.name, code, whole, bus_part(app, ledger))
        for app, (code, whole) in zip(apps, ended, strict=True)
    ]


def bus_part(app: Service, ledger: Reader) -> float:
    began, ended = (ledger.moment(event, app.name + ":") for event in ("stopping", "stopped"))
    assert began is not None, app.tail()
    assert ended is not None, app.tail()
    return ended - began


def assert_in_time(ends: Sequence[End]) -> None:
    assert [end.code for end in ends] == [-signal.SIGTERM] * len(ends), "all ended in order"
    assert max(end.bus for end in ends) <= SHUTDOWN_SECONDS + 0.2
    assert max(end.whole for end in ends) <= SHUTDOWN_SECONDS + AROUND_SECONDS


def give_work(app: Service, id: int) -> int:
    """The status that the app answers with."""
    return httpx.post(f"{app.address}/work/{id}", timeout=20).status_code
