"""An app without the console has no route, connection or memory of it; one with it says what it needs."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI

from convex_messaging_fastapi import ConfigurationError, MessageBus, MessagingRouter
from convex_messaging_fastapi.console import messaging_console
from tests.console.support import calling, may_read, operator, shop, visited
from tests.support.fresh import Fresh

SERVICE = """
import sys, tracemalloc
from fastapi import FastAPI
from fastapi.testclient import TestClient
from convex_messaging_fastapi import MessageBus, MessagingRouter, MessagingSettings

bus = MessageBus(MessagingSettings(bootstrap_servers="memory://", consumer_group="shop"))
app = FastAPI()
app.include_router(MessagingRouter(bus))
with TestClient(app) as client:
    assert client.get("/messaging").status_code == 404
    assert client.get("/health/kafka").status_code == 200
ours = [name for name in sys.modules if name.startswith("convex_messaging_fastapi.console")]
assert not ours, ours
assert not {"jinja2", "markupsafe"} & {*sys.modules}
"""

WITHOUT = """
import sys
sys.modules["jinja2"] = None
from fastapi import Depends
from convex_messaging_fastapi import ConfigurationError, MessageBus
from convex_messaging_fastapi.console import messaging_console
try:
    messaging_console(MessageBus(), dependencies=[Depends(lambda: None)])
except ConfigurationError as error:
    print(error)
"""


def test_an_app_without_it_loads_nothing_of_it(
    fresh: Fresh, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ended = fresh.run(SERVICE, tmp_path_factory.mktemp("off"))
    assert ended.code == 0, ended.err


def test_who_lacks_jinja_is_told_which_extra_has_it(fresh: Fresh, tmp_path: Path) -> None:
    ended = fresh.run(WITHOUT, tmp_path)
    assert ended.out.strip().endswith("pip install 'convex-messaging-fastapi[console]'"), ended.err


async def test_a_bus_without_it_takes_no_memory_for_it_and_has_no_task_of_it() -> None:
    """What a start and a minute take, beside the same with it."""
    without, with_it = await _taken(on=False), await _taken(on=True)
    assert without["console"] == 0
    assert with_it["console"] > 0
    assert without["all"] <= 1.05 * with_it["all"]


async def _taken(*, on: bool) -> dict[str, int]:
    bus, _ = shop()
    app = FastAPI()
    app.include_router(MessagingRouter(bus))
    tracemalloc.start(10)
    try:
        if on:
            app.include_router(messaging_console(bus, dependencies=[Depends(may_read)]), prefix="/messaging")
        async with bus.test(app) as bench:
            await bench.advance(60)
            taken = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    ours = taken.filter_traces(
        [tracemalloc.Filter(True, "*/convex_messaging_fastapi/console/*", all_frames=True)]
    )
    return {
        "all": sum(each.size for each in taken.statistics("filename")),
        "console": sum(each.size for each in ours.statistics("filename")),
    }


async def test_one_that_nobody_looks_at_asks_the_cluster_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with visited() as visit:
        asked = list[str]()
        logs = type(visit.bench.transport.log_reader())
        ranges = logs.ranges

        async def counted(self: object, topic: str) -> object:
            asked.append(topic)
            return await ranges(self, topic)  # type: ignore[arg-type]

        monkeypatch.setattr(logs, "ranges", counted)
        await visit.bench.advance(120)
        for path in ("", "/settings", "/asyncapi", "/api/health", "/api/course"):
            assert (await visit.get(path)).status_code == 200
        assert [topic for topic in asked if topic != "convex.control"] == []
        await visit.get("/dead-letters")
        assert "convex.dlq" in asked


def test_it_is_about_a_bus_that_is_not_yet_running() -> None:
    with pytest.raises(ConfigurationError, match="is about a MessageBus, not"):
        messaging_console(FastAPI(), dependencies=[Depends(may_read)])  # type: ignore[arg-type]


async def test_a_bus_that_runs_has_it_from_before_or_not_at_all() -> None:
    bus, _ = shop()
    async with bus.test():
        with pytest.raises(ConfigurationError, match="make its console before it starts"):
            messaging_console(bus, dependencies=[Depends(may_read)])


@pytest.mark.parametrize("said", ["", "  ", None, 7])
async def test_an_operator_without_a_name_does_nothing(said: object) -> None:
    bus, _ = shop()
    app = FastAPI()
    app.include_router(MessagingRouter(bus))
    console = messaging_console(
        bus,
        dependencies=[Depends(may_read)],
        writes=[Depends(may_read)],
        operator=lambda request: said,  # type: ignore[arg-type, return-value]
    )
    app.include_router(console, prefix="/messaging")
    async with bus.test(app), calling(app) as browser:
        answer = await browser.get("/messaging/dead-letters/discard")
        assert answer.status_code == 403
        assert "Nobody says who you are" in answer.text


async def test_an_operator_may_be_asked_for_in_a_coroutine() -> None:
    bus, _ = shop()
    app = FastAPI()
    app.include_router(MessagingRouter(bus))

    async def who(request: object) -> str:
        return operator(request)  # type: ignore[arg-type]

    console = messaging_console(
        bus, dependencies=[Depends(may_read)], writes=[Depends(may_read)], operator=who
    )
    app.include_router(console, prefix="/messaging")
    async with bus.test(app), calling(app) as browser:
        assert (await browser.get("/messaging/dead-letters/discard")).status_code == 200


def test_two_buses_have_two_consoles() -> None:
    one, other = MessageBus(), MessageBus()
    for bus in (one, other):
        messaging_console(bus, dependencies=[Depends(may_read)])
    assert one._observers != other._observers
