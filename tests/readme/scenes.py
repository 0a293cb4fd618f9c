"""What the Python of most pages does; `python -m tests.readme.further_scenes NAME` plays one piece.

The piece is put where its page says: at the end of the first program, or in its place. That is saved
as `main.py` in a new folder and imported in a new process, and its app is run on the in-process broker.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import httpx

import convex_messaging_fastapi
from convex_messaging_fastapi import Reject, Retry
from convex_messaging_fastapi.records import Record
from convex_messaging_fastapi.testing import TestBench
from tests.readme.reading import FIRST, block

Check = Callable[[Any], Coroutine[Any, Any, None]]
Place = Literal["alone", "beside", "top", "bus", "end"]
"""In place of the first program, in a file beside it, before it, in place of its bus, or after it."""

BUS = "bus = MessageBus()"


@dataclass(frozen=True, slots=True)
class Scene:
    """One block, known by words that no other has, and what must come of it."""

    showing: str
    check: Check
    place: Place

    def save(self) -> str:
        """Put it where its page says, in the working directory; the name of the module to import."""
        shown = block(self.showing).text
        programs = {
            "alone": shown,
            "beside": FIRST,
            "top": f"{shown}\n\n{FIRST}",
            "bus": FIRST.replace(next(line for line in FIRST.splitlines() if line.startswith(BUS)), shown),
            "end": f"{FIRST}\n\n{shown}",
        }
        Path("main.py").write_text(programs[self.place])
        if self.place != "beside":
            return "main"
        Path("test_main.py").write_text(shown)
        return "test_main"


SCENES: dict[str, Scene] = {}


def scene(showing: str, place: Place = "end") -> Callable[[Check], Check]:
    def known(check: Check) -> Check:
        SCENES[check.__name__] = Scene(showing, check, place)
        return check

    return known


@dataclass(frozen=True, slots=True)
class Stage:
    """A running `main.py`: who asks it, its bench, and what it has printed."""

    http: httpx.AsyncClient
    bench: TestBench
    out: io.StringIO

    @property
    def said(self) -> list[str]:
        return self.out.getvalue().splitlines()

    async def post(self, path: str, **asked: Any) -> Any:
        return (await self.http.post(path, **asked)).raise_for_status().json()


@asynccontextmanager
async def played(main: Any) -> AsyncIterator[Stage]:
    out = io.StringIO()
    transport = httpx.ASGITransport(main.app)
    with redirect_stdout(out):
        async with (
            main.bus.test(main.app) as bench,
            main.app.router.lifespan_context(main.app),
            httpx.AsyncClient(transport=transport, base_url="http://users") as http,
        ):
            yield Stage(http, bench, out)


def user(main: Any, user_id: int = 1, email: str = "ada@example.com") -> Any:
    return main.UserCreated(user_id=user_id, email=email, created_at="2026-01-01T00:00:00Z")


@scene("messaging_router = MessagingRouter(bus)", "alone")
async def first_program(main: Any) -> None:
    async with played(main) as stage:
        assert await stage.post("/users", json={"email": "ada@example.com"}) == {"user_id": 1}
        await stage.bench.settle()
        assert (await stage.http.get("/health/kafka/startup")).json() == {"status": "up"}
        assert stage.bench.dead_letters() == []
    assert stage.said == ["welcome, ada@example.com"]


@scene("from fastapi.testclient", "beside")
async def with_a_test_client(test_main: Any) -> None:
    await test_main.test_a_user_is_welcomed()


@scene("get_greeting")
async def handler(main: Any) -> None:
    async with played(main) as stage:
        await main.bus.publish("user.returned", user(main), key="1", headers={"message-id": "m-1"})
        await main.bus.publish("user.created", user(main, 2), key="2")
        await stage.bench.settle()
        (greeted,) = stage.bench.records("user.greeted")
        assert greeted.key == b"1"
    assert "welcome back ada@example.com m-1" in stage.said


@scene("import Batch, BatchFailed")
async def batch(main: Any) -> None:
    async with played(main) as stage:
        events = [user(main, 1), user(main, 2, "nobody"), user(main, 3)]
        await main.bus.publish_many("user.created", events, key="1")
        await stage.bench.settle()
        (letter,) = stage.bench.dead_letters()
        assert (letter.handler, letter.original_key()) == ("main.write_rows", b"1")
    assert [line for line in stage.said if line.startswith("row")] == ["row 1", "row 3"]


@scene("never=(HTTPException,)")
async def http_exception(main: Any) -> None:
    async with played(main) as stage:
        await main.bus.publish("user.created", user(main))
        await stage.bench.settle()
        (letter,) = stage.bench.dead_letters()
        assert letter.attempts == 1
        assert letter.error_message.endswith("404: no such user")


@scene("breaker=Breaker(")
async def breaker(main: Any) -> None:
    async with played(main) as stage:
        await main.bus.publish("user.created", user(main))
        await stage.bench.settle()
        (worker,) = main.bus.status().workers
        breakers = {each.id: each.breaker for each in worker.subscriptions if each.breaker is not None}
        assert {id: each.is_open for id, each in breakers.items()} == {"main.store": False}
    assert "insert 1" in stage.said


@scene("class Shipped")
async def kinds_on_one_topic(main: Any) -> None:
    async with played(main) as stage:
        await main.bus.publish("order.changed", main.Shipped(order_id=1))
        await main.bus.publish("order.changed", main.Cancelled(order_id=2))
        old = {"message-type": "ShippedV1", "content-type": "application/json"}
        await main.bus.publish("order.changed", b'{"OrderId":3}', headers=old)
        await stage.bench.settle()
        assert header(stage.bench.records("order.changed")[0], "message-type") == "OrderShipped"
        assert stage.bench.dead_letters() == []
    told = ["tell Shipped 1", "tell Cancelled 2", "tell Shipped 3", "refund 2"]
    assert sorted(stage.said) == sorted(told)


def header(record: Record, wanted: str) -> str:
    (value,) = (value for name, value in record.headers if name == wanted)
    assert value is not None
    return value.decode()


@scene("subscribers = Subscribers()")
async def subscribers(main: Any) -> None:
    async with played(main) as stage:
        await main.bus.publish("user.created", user(main))
        await stage.bench.settle()
    assert sorted(stage.said) == ["audit 1", "welcome, ada@example.com"]


@scene('"/unwatch"')
async def handlers_that_come_and_go(main: Any) -> None:
    async with played(main) as stage:
        id = await stage.post("/watch")
        await main.bus.publish("user.created", user(main, 1))
        await stage.bench.settle()
        assert await stage.post("/unwatch", params={"id": id}) is True
        assert await stage.post("/unwatch", params={"id": id}) is False
        await main.bus.publish("user.created", user(main, 2))
        await stage.bench.settle()
    assert [line for line in stage.said if line.startswith("seen")] == ["seen 1"]


@scene("class SendMail")
async def queue(main: Any) -> None:
    async with played(main) as stage:
        await stage.post("/mails", params={"user_id": 7})
        await stage.bench.settle()
    assert stage.said == ["mail to 7"]


@scene("PublishManyError")
async def publishing(main: Any) -> None:
    async with played(main) as stage:
        assert await stage.post("/import", json=["ada@example.com", "bob@example.com"]) == {}
        assert (await stage.http.delete("/users/7")).json() == 0
        assert (await stage.http.delete("/profiles/7")).status_code == 200
        await stage.bench.settle()
        assert [record.key for record in stage.bench.records("user.created")] == [b"0", b"1"]
        (deleted,) = stage.bench.records("user.deleted")
        assert (deleted.key, header(deleted, "reason")) == (b"7", "asked")
        assert [record.value for record in stage.bench.records("profile")] == [None]
        stage.bench.broker.down()
        asked = asyncio.create_task(stage.post("/import", json=["eve@example.com"]))
        while not asked.done():
            await stage.bench.advance(1)
        assert list((await asked).values()) in ([[0], []], [[], [0]])
        stage.bench.broker.up()


@scene("exception_handler(PublishError)")
async def kafka_away(main: Any) -> None:
    async with played(main) as stage:
        stage.bench.broker.down()
        asked = asyncio.create_task(stage.http.post("/users", json={"email": "ada@example.com"}))
        while not asked.done():
            await stage.bench.advance(1)
        told = await asked
        assert (told.status_code, told.headers["retry-after"]) == (503, "5")
        stage.bench.broker.up()


@scene("page.groups")
async def what_failed(main: Any) -> None:
    async with played(main) as stage:
        for key in ("1", "2"):
            await main.bus.publish("user.created", {"Email": "nobody"}, key=key)
        await stage.bench.settle()
        told = (await stage.http.get("/failed", params={"topic": "user.created"})).json()
        assert list(told.values()) == ["2 x main.send_welcome, CreatedAt, UserId"]
        assert (await stage.http.get("/failed", params={"topic": "orders"})).json() == {}
        await replayed(stage, *told)


async def replayed(stage: Stage, group: str) -> None:
    """First told, then done: they fail again, for they are what they were."""
    shown = (await stage.post(f"/failed/{group}/replay")) | {"job": ""}
    assert shown == {"job": "", "letters": 2, "left as they are": {}, "read this": []}
    assert len(stage.bench.dead_letters()) == 2
    asked = asyncio.create_task(stage.post(f"/failed/{group}/replay?really=true"))
    while not asked.done():
        await stage.bench.advance(1)
    await stage.bench.advance(10)
    assert [letter.replay_count for letter in stage.bench.dead_letters()[2:]] == [1, 1]


@scene("show_letter")
async def dead_letters(main: Any) -> None:
    async with played(main) as stage:
        await main.bus.publish("user.created", {"Email": "nobody"}, key="1", headers={"reason": "asked"})
        await stage.bench.settle()
    (shown,) = stage.said
    assert "convex.user.created main.send_welcome 1" in shown


@scene("call_by_name")
async def shared_things(main: Any) -> None:
    async with played(main) as stage:
        await main.bus.publish("user.created", user(main))
        await stage.bench.settle()
    assert "hello Ada" in stage.said


@scene("service.stopping")
async def start_and_stop(main: Any) -> None:
    async with main.bus.test(main.app) as bench:
        async with main.app.router.lifespan_context(main.app):
            assert bench.published("service.started") == [{"service": "users"}]
        assert bench.published("service.stopping") == [{"service": "users"}]
    await at_both_ends_of_a_bus_of_its_own(main)


async def at_both_ends_of_a_bus_of_its_own(main: Any) -> None:
    """The bench outlives the lifespan; here the bus begins and ends with it, as on a server."""
    main.bus.subscriber("service.started", "service.stopping")(show_all)
    out = io.StringIO()
    with redirect_stdout(out):
        async with main.app.router.lifespan_context(main.app):
            pass
    assert "{'service': 'users'}" in out.getvalue()


async def show_all(message: dict[str, str]) -> None:
    print(message)  # noqa: T201 - what the pages' own handlers do


@scene("CorrelationMiddleware")
async def correlation(main: Any) -> None:
    async with played(main) as stage:
        asked = {"X-Request-ID": "request-17"}
        await stage.post("/users", json={"email": "ada@example.com"}, headers=asked)
        (record,) = stage.bench.records("user.created")
        assert header(record, "correlation-id") == "request-17"


@scene("class RequestId", "bus")
async def request_id_everywhere(main: Any) -> None:
    seen: list[str] = []

    @main.bus.subscriber("user.created")  # type: ignore[untyped-decorator]
    async def look(event: dict[str, Any]) -> None:
        seen.append(main.request_id.get())
        await main.bus.publish("user.seen", event)

    async with played(main) as stage:
        main.request_id.set("request-17")
        await main.bus.publish("user.created", user(main))
        await main.bus.publish("user.created", user(main), headers={"x-request-id": "another"})
        await stage.bench.settle()
        for topic in ("user.created", "user.seen"):
            told = [header(record, "x-request-id") for record in stage.bench.records(topic)]
            assert sorted(told) == ["another", "request-17"]
    assert sorted(seen) == ["another", "request-17"]


@scene("class Sentry", "bus")
async def exceptions_to_sentry(main: Any) -> None:
    class Kept(main.sentry_sdk.transport.Transport):  # type: ignore[misc]
        def capture_envelope(self, envelope: Any) -> None:
            events.extend(item.get_event() for item in envelope.items if item.get_event())

    events: list[dict[str, Any]] = []
    main.sentry_sdk.init("http://key@localhost/1", transport=Kept())

    @main.bus.subscriber("user.deleted", retry=Retry(attempts=2, delay_seconds=1))  # type: ignore[untyped-decorator]
    async def fail(event: dict[str, Any]) -> None:
        raise KeyError("no such user")

    @main.bus.subscriber("user.refused")  # type: ignore[untyped-decorator]
    async def refuse(event: dict[str, Any]) -> None:
        raise Reject("on purpose")

    async with played(main) as stage:
        for topic in ("user.created", "user.deleted", "user.refused"):
            await main.bus.publish(topic, user(main), headers={"message-id": "m-1"})
        await stage.bench.settle()
        assert len(stage.bench.dead_letters()) == 2
    assert [event["exception"]["values"][0]["type"] for event in events] == ["KeyError", "KeyError"]
    tags = [event["tags"] for event in events]
    told = [{"topic": "convex.user.deleted", "message_id": "m-1", "attempt": n} for n in ("1", "2")]
    assert [{name: str(tag[name]) for name in told[0]} for tag in tags] == told


@scene("class Timings", "bus")
async def what_a_bus_tells(main: Any) -> None:
    async with played(main) as stage:
        await main.bus.publish("user.created", user(main))
        await main.bus.publish("user.created", {"Email": "nobody"})
        await stage.bench.settle()
    assert main.timings.outcomes == {"handled": 1, "failed": 1}
    assert list(main.timings.longest) == ["main.send_welcome"]
    (told,) = (line for line in stage.said if line.startswith("buried"))
    assert told.startswith("buried convex.user.created ")


@scene("make_asgi_app", "bus")
async def metrics(main: Any) -> None:
    main.app.mount("/metrics", main.metrics)
    async with played(main) as stage:
        await main.bus.publish("user.created", user(main))
        await stage.bench.settle()
        openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
        told = (await stage.http.get("/metrics/", headers=openmetrics)).text
    assert 'convex_messaging_published_total{outcome="written",topic="convex.user.created"} 1.0' in told
    assert told.endswith("# EOF\n")


@scene("import OpenTelemetry", "bus")
async def traces(main: Any) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    async with played(main) as stage:
        await stage.post("/users", json={"email": "ada@example.com"})
        await stage.bench.settle()
    spans = exporter.get_finished_spans()
    assert len({span.context.trace_id for span in spans}) == 1
    ids = {span.name: span.context.span_id for span in spans}
    parents = {span.name: span.parent.span_id for span in spans if span.parent is not None}
    assert parents["process convex.user.created"] == ids["send convex.user.created"]
    if len(spans) > 2:  # of FastAPI itself, where it makes them
        assert parents["send convex.user.created"] in ids.values()


@scene("class AppSettings")
async def two_clusters(main: Any) -> None:
    out = io.StringIO()
    async with main.audit_bus.test() as audited:
        async with played(main) as stage:
            await stage.post("/audit", params={"what": "login"})
            for prefix in ("/health/kafka", "/health/audit"):
                assert (await stage.http.get(f"{prefix}/startup")).json() == {"status": "up"}
        assert audited.published("audit") == [{"what": "login"}]
        assert stage.bench.published("audit") == []
    assert out.getvalue() == ""


@scene("%(asctime)s", "top")
async def logs(main: Any) -> None:
    """The story of which the page shows the lines; without their numbers they are the same."""
    (handler,) = (each for each in logging.getLogger().handlers if type(each) is logging.StreamHandler)
    handler.setStream(told := io.StringIO())
    main.bus = main.MessageBus()
    begun = asyncio.Event()

    async def charge(event: dict[str, Any]) -> None:
        if event["Email"].startswith("slow"):
            begun.set()
            await asyncio.sleep(0.2)  # simulates work
        else:
            raise ValueError("no such card")

    charge.__module__, charge.__qualname__ = "main", "charge"
    main.bus.subscriber("user.created", retry=Retry(attempts=2, delay_seconds=0.1))(charge)
    async with main.bus:
        for email in ("ada@example.com", "slow@example.com"):
            await main.bus.publish("user.created", user(main, 1, email), key="1")
        await begun.wait()
    lines = [plain(line) for line in told.getvalue().splitlines()]
    assert not [line for line in shown_lines() if line not in lines], told.getvalue()


async def lines_of_a_handler(main: Any) -> list[str]:
    """What a handler logs of a message, and the app of nothing."""
    (handler,) = (each for each in logging.getLogger().handlers if type(each) is logging.StreamHandler)
    handler.setStream(told := io.StringIO())
    log = logging.getLogger("users.mails")

    @main.bus.subscriber("user.deleted", id="mails")  # type: ignore[untyped-decorator]
    async def mail(event: dict[str, Any]) -> None:
        log.info("a mail is sent")

    async with played(main) as stage:
        await main.bus.publish("user.deleted", user(main), correlation_id="request-17")
        await stage.bench.settle()
        log.info("nothing to do")
    return [line for line in told.getvalue().splitlines() if "users.mails" in line]


@scene("convex_messaging_fastapi.CorrelationFilter", "top")
async def plain_lines(main: Any) -> None:
    assert await lines_of_a_handler(main) == [
        "INFO users.mails [request-17 mails] a mail is sent",
        "INFO users.mails [None None] nothing to do",
    ]


@scene("class AsJson", "top")
async def lines_as_json(main: Any) -> None:
    sent, nothing = map(json.loads, await lines_of_a_handler(main))
    assert (sent["message"], sent["handler"], sent["correlation_id"]) == (
        "a mail is sent",
        "mails",
        "request-17",
    )
    assert nothing == {"level": "INFO", "logger": "users.mails", "message": "nothing to do"}


@scene("import structlog", "top")
async def lines_of_structlog(main: Any) -> None:
    own = main.structlog.get_logger("users.mails")

    @main.bus.subscriber("user.deleted", id="own")  # type: ignore[untyped-decorator]
    async def mail(event: dict[str, Any]) -> None:
        own.info("by structlog", count=2)

    lines = {line["event"]: line for line in map(json.loads, await lines_of_a_handler(main))}
    told = [(lines[event]["handler"], lines[event]["correlation_id"]) for event in sorted(lines)]
    assert told == [("mails", "request-17"), ("own", "request-17"), (None, None)]
    assert lines["by structlog"]["count"] == 2


def shown_lines() -> list[str]:
    return [plain(line) for line in block("the bus starts").text.splitlines()]


def plain(line: str) -> str:
    """Without what is another every time: numbers, ids, and where the file lies."""
    line = re.sub(r"message-id [\w-]+", "message-id", line)
    return re.sub(r"\d+", "0", re.sub(r"\S+\.py:\d+", "a file", line))


def play(name: str, folder: Path) -> None:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    shown = importlib.import_module(SCENES[name].save())
    asyncio.run(SCENES[name].check(shown))


def main(names: Sequence[str]) -> None:
    """Each in a fork of this process, which has imported what takes long, and in a folder of its own."""
    for shown in convex_messaging_fastapi.__all__:
        getattr(convex_messaging_fastapi, shown)  # loads it, here once for all
    failed = []
    for name in names:
        sys.stderr.write(f"\n{name}, {block(SCENES[name].showing).place}:\n")
        with TemporaryDirectory() as folder:
            child = get_context("fork").Process(target=play, args=(name, Path(folder)))
            child.start()
            child.join()
        if child.exitcode:
            failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else None)
