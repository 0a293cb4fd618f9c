"""Probes: right codes, closed bodies, from memory, and never behind the app's login."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from starlette.applications import Starlette

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.measuring import Speed
from convex_messaging_fastapi.plugin import MessagingRouter, health_routes
from convex_messaging_fastapi.status import BusStatus, SubscriptionStatus
from convex_messaging_fastapi.verdicts import REASONS, STATUSES
from tests.plugin.calls import ScriptedBus, call
from tests.support.snapshots import (
    BROKEN,
    COMMITS_FAILING,
    DLQ_UNAVAILABLE,
    LOSS,
    PARTITION,
    PAUSE,
    SILENT,
    SITUATIONS,
    UP,
    WORKER,
    Situation,
    holding,
    with_contact,
)

PATHS = ("/health/kafka", "/health/kafka/live", "/health/kafka/ready", "/health/kafka/startup")


def app_of(status: BusStatus, **choices: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(MessagingRouter(ScriptedBus(status), **choices))
    return app


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
async def test_every_situation_is_answered_with_its_code_and_a_closed_body(situation: Situation) -> None:
    startup, live, for_http, for_kafka = situation.codes
    for readiness, ready in (("kafka", for_kafka), ("http", for_http)):
        app = app_of(situation.status, readiness=readiness)
        answers = [await call(app, path) for path in PATHS]
        assert [answer.status_code for answer in answers] == [ready, live, ready, startup]
        for answer in answers:
            body = answer.json()
            assert set(body) <= {"status", "reasons"}
            assert body["status"] in STATUSES
            assert set(body.get("reasons", ())) <= REASONS
            assert len(answer.content) < 1000


async def test_bodies_are_as_short_as_they_can_be() -> None:
    assert (await call(app_of(UP), "/health/kafka/ready")).content == b'{"status":"up"}'
    down = await call(app_of(with_contact(SILENT)), "/health/kafka/ready")
    assert down.content == b'{"status":"down","reasons":["broker_unreachable"]}'


async def test_http_readiness_tells_what_it_does_not_judge() -> None:
    answer = await call(app_of(with_contact(SILENT), readiness="http"), "/health/kafka/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "down")


@pytest.mark.parametrize("path", PATHS)
async def test_head_says_what_get_says_without_a_body(path: str) -> None:
    app = app_of(with_contact(SILENT))
    get, head = await call(app, path), await call(app, path, "HEAD")
    assert (head.status_code, head.headers, head.content) == (get.status_code, get.headers, b"")
    assert get.headers["cache-control"] == "no-store"
    assert get.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_but_get_and_head_is_allowed(path: str) -> None:
    assert (await call(app_of(UP), path, "POST")).status_code == 405


async def test_probes_are_not_part_of_the_documented_api() -> None:
    assert (await call(app_of(UP), "/openapi.json")).json()["paths"] == {}


async def test_probes_may_be_documented_and_answer_as_they_are_described() -> None:
    app = app_of(with_contact(SILENT), include_in_schema=True)
    document = (await call(app, "/openapi.json")).json()
    assert set(document["paths"]) == set(PATHS)
    answers = document["components"]["schemas"]["ProbeAnswer"]
    for path, operations in document["paths"].items():
        assert set(operations) == {"get"}
        assert set(operations["get"]["responses"]) == {"200", "503"}
        body = (await call(app, path)).json()
        assert set(body) <= set(answers["properties"])
        assert set(body) >= set(answers["required"])


async def test_documented_probes_are_served_as_plain_routes_all_the_same() -> None:
    app = FastAPI(dependencies=[Depends(refuse)])
    app.include_router(MessagingRouter(ScriptedBus(UP), include_in_schema=True))
    assert [(await call(app, path)).status_code for path in PATHS] == [200, 200, 200, 200]
    assert [(await call(app, path, "HEAD")).content for path in PATHS] == [b""] * 4
    assert [(await call(app, path, "POST")).status_code for path in PATHS] == [405] * 4


def refuse() -> None:
    raise HTTPException(401)


def require_login(request: Request) -> None:
    if request.headers.get("authorization") != "Bearer 1234":
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})


@pytest.mark.parametrize("shown", [False, True])
async def test_details_may_be_asked_for_with_fastapis_own_dependencies(shown: bool) -> None:
    app = app_of(holding(DLQ_UNAVAILABLE), details=[Depends(require_login)], include_in_schema=shown)
    for method in ("GET", "HEAD"):
        refused = await call(app, "/health/kafka", method)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    full = await call(app, "/health/kafka", headers=LOGIN)
    assert (full.status_code, full.json()["status"], full.json()["phase"]) == (503, "degraded", "running")
    assert (await call(app, "/health/kafka", "HEAD", headers=LOGIN)).content == b""
    assert (await call(app, "/health/kafka", "POST", headers=LOGIN)).status_code == 405
    assert (await call(app, "/health/kafka/", headers=LOGIN)).status_code == 404
    assert [(await call(app, path)).status_code for path in PATHS[1:]] == [200, 503, 200]
    app.dependency_overrides[require_login] = lambda: None
    assert (await call(app, "/health/kafka")).json()["phase"] == "running"
    assert set((await call(app, "/openapi.json")).json()["paths"]) == (set(PATHS) if shown else set())


def kind(given: object) -> str:
    return type(given).__name__


@pytest.mark.parametrize(
    "given", ["admin", [], ["admin"], [require_login], Depends(require_login), 5, {}], ids=kind
)
def test_details_that_let_nobody_decide_are_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"`details` is a function of the request"):
        app_of(UP, details=given)


def test_without_fastapi_details_are_a_function() -> None:
    with pytest.raises(ConfigurationError, match=r"`Depends` needs FastAPI: MessagingRouter"):
        health_routes(ScriptedBus(UP), details=[Depends(require_login)])  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["localhost:9092", None, {}], ids=kind)
def test_what_is_no_bus_has_no_probes(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="probes are those of a MessageBus"):
        health_routes(given)


async def test_app_wide_authentication_does_not_lock_the_kubelet_out() -> None:
    app = FastAPI(dependencies=[Depends(refuse)])
    between = APIRouter(dependencies=[Depends(refuse)])
    between.include_router(MessagingRouter(ScriptedBus(UP)), dependencies=[Depends(refuse)])
    app.include_router(between, dependencies=[Depends(refuse)])

    @app.get("/orders")
    async def orders() -> None: ...

    assert [(await call(app, path)).status_code for path in PATHS] == [200, 200, 200, 200]
    assert (await call(app, "/orders")).status_code == 401


async def test_the_prefix_can_be_chosen_here_and_where_it_is_included() -> None:
    app, between = FastAPI(), APIRouter()
    between.include_router(MessagingRouter(ScriptedBus(UP), health_prefix="/kafka"), prefix="/internal")
    app.include_router(between, prefix="/v1")
    assert (await call(app, "/v1/internal/kafka/ready")).status_code == 200
    assert (await call(app, "/health/kafka/ready")).status_code == 404


@pytest.mark.parametrize("prefix", ["", "/", "health", "/health/"])
def test_a_prefix_that_makes_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="begins with a slash"):
        health_routes(ScriptedBus(UP), prefix=prefix)


def test_an_unknown_readiness_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'kafka' or 'http', not 'producer'"):
        health_routes(ScriptedBus(UP), readiness="producer")  # type: ignore[arg-type]


async def test_plain_starlette_takes_the_routes_as_they_are() -> None:
    app = Starlette(routes=health_routes(ScriptedBus(holding(DLQ_UNAVAILABLE))))
    answer = await call(app, "/health/kafka/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["dlq_unavailable"])


async def test_ten_thousand_probes_look_at_memory_ten_thousand_times_and_do_nothing_else() -> None:
    bus = ScriptedBus(UP)
    app = Starlette(routes=health_routes(bus))
    codes = []

    async def send(message: Any) -> None:
        codes.append(message.get("status"))

    async def receive() -> Any:
        raise AssertionError("a probe waits for nothing")

    scope = {"type": "http", "method": "GET", "path": "/health/kafka/ready", "headers": []}
    for _ in range(10_000):
        await app(dict(scope), receive, send)
    assert codes.count(200) == 10_000
    assert bus.looks == 10_000


def with_a_password(request: Request) -> bool:
    return request.headers.get("authorization") == "Bearer 1234"


async def with_a_password_looked_up(request: Request) -> bool:
    return with_a_password(request)


def or_refuse(request: Request) -> bool:
    if not with_a_password(request):
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
    return True


LOGIN = {"authorization": "Bearer 1234"}


@pytest.mark.parametrize("allows", [with_a_password, with_a_password_looked_up])
async def test_details_are_for_those_whom_the_app_allows(allows: Any) -> None:
    app = app_of(holding(DLQ_UNAVAILABLE), details=allows)
    public, full = await call(app, "/health/kafka"), await call(app, "/health/kafka", headers=LOGIN)
    assert public.json() == {"status": "degraded", "reasons": ["dlq_unavailable"]}
    assert full.status_code == public.status_code == 503
    body = full.json()
    assert (body["status"], body["reasons"], body["phase"]) == ("degraded", ["dlq_unavailable"], "running")
    assert body["producer"]["last_contact_seconds"] == 0.8
    (consumer,) = body["consumers"]
    assert (consumer["group"], consumer["partitions"], consumer["unfinished"]) == ("billing", 2, 4)
    assert consumer["held"] == [
        {"topic": "convex.orders", "partition": 4, "offset": 10, "reason": "dlq_unavailable"}
    ]


async def test_the_app_may_refuse_the_summary_and_not_the_other_probes() -> None:
    app = app_of(UP, details=or_refuse)
    refused = await call(app, "/health/kafka")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert [(await call(app, path)).status_code for path in PATHS[1:]] == [200, 200, 200]
    assert "consumers" in (await call(app, "/health/kafka", headers=LOGIN)).json()


async def test_only_true_allows_details() -> None:
    app = app_of(UP, details=lambda request: "nobody said no")
    assert (await call(app, "/health/kafka")).json() == {"status": "up"}


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even that")


DEFECTS: tuple[Exception, ...] = (
    RuntimeError("token 1234 of ada"),
    KeyError("authorization"),
    TimeoutError("the session store"),
    StopIteration(),
    ExceptionGroup("several", [ValueError("token 1234 of ada")]),
    Unprintable(),
)


def failing(error: Exception) -> Any:
    def check(request: Request) -> bool:
        raise error

    return check


def failing_later(error: Exception) -> Any:
    async def check(request: Request) -> bool:
        raise error

    return check


def of_no_request() -> bool:
    return True


@pytest.mark.parametrize("how", [failing, failing_later])
@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: type(error).__name__)
async def test_a_check_that_fails_has_not_said_yes(
    error: Exception, how: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_of(UP, details=how(error))
    answer = await call(app, "/health/kafka", headers=LOGIN)
    assert (answer.status_code, answer.json()) == (200, {"status": "up"})
    told = [record for record in caplog.records if "details" in record.getMessage()]
    assert len(told) == 1
    assert type(error).__name__ in caplog.text or isinstance(error, StopIteration)
    assert "1234" not in caplog.text
    assert told[0].exc_info is None, "a traceback would tell the text"


async def test_a_check_that_cannot_be_called_has_not_said_yes() -> None:
    app = app_of(UP, details=of_no_request)
    assert (await call(app, "/health/kafka")).json() == {"status": "up"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_slash_at_the_end_is_another_path_and_redirects_to_nobody(path: str, method: str) -> None:
    plain = Starlette(routes=health_routes(ScriptedBus(UP)))
    between = FastAPI()
    between.include_router(MessagingRouter(ScriptedBus(UP)), prefix="/v1")
    for app, prefix in ((app_of(UP), ""), (plain, ""), (between, "/v1")):
        answer = await call(app, f"{prefix}{path}/", method, headers={"host": "evil.example"})
        assert answer.status_code == 404
        assert "location" not in answer.headers


@pytest.mark.parametrize("path", PATHS[1:])
async def test_the_other_probes_never_show_details(path: str) -> None:
    app = app_of(UP, details=lambda request: True)
    assert (await call(app, path)).json() == {"status": "up"}


async def test_details_of_a_bus_that_does_not_run() -> None:
    app = app_of(SITUATIONS["stopped"].status, details=lambda request: True)
    body = (await call(app, "/health/kafka")).json()
    assert (body["phase"], body["producer"], body["consumers"]) == ("stopped", None, [])


async def test_details_say_how_long_a_rebalance_has_lasted() -> None:
    rebalancing = replace(WORKER, rebalancing=True, rebalancing_seconds=3.25, partitions=())
    app = app_of(replace(UP, workers=(WORKER, rebalancing)), details=lambda request: True)
    consumers = (await call(app, "/health/kafka")).json()["consumers"]
    assert [consumer["rebalancing_seconds"] for consumer in consumers] == [None, 3.25]


async def test_details_name_the_oldest_record_that_is_not_finished() -> None:
    """Where a handler hangs, it is that one."""
    stuck = replace(PARTITION, partition=4, oldest_unfinished=1207, oldest_age_seconds=312.4)
    idle = replace(PARTITION, unfinished=0, oldest_unfinished=None, oldest_age_seconds=0.0)
    one, none = (replace(WORKER, partitions=held) for held in ((PARTITION, stuck, idle), (idle,)))
    app = app_of(replace(UP, workers=(one, none)), details=lambda request: True)
    consumers = (await call(app, "/health/kafka")).json()["consumers"]
    assert [consumer["oldest_unfinished"] for consumer in consumers] == [
        {"topic": "convex.orders", "partition": 4, "offset": 1207, "seconds": 312.4},
        None,
    ]


async def test_details_count_what_filters_pass_over_and_what_is_for_nobody() -> None:
    one = SubscriptionStatus("ship", ("convex.orders",), "billing", "key", 1, 0, 0, 0, 0, 0, 0, 0, filtered=7)
    sifting = replace(WORKER, subscriptions=(one, replace(one, id="bill", filtered=4)), unhandled=3)
    app = app_of(replace(UP, workers=(sifting,)), details=lambda request: True)
    (consumer,) = (await call(app, "/health/kafka")).json()["consumers"]
    assert (consumer["filtered"], consumer["unhandled"]) == (11, 3)


async def test_details_say_what_was_lost() -> None:
    lossy = replace(WORKER, losses=(LOSS,), records_lost=106)
    app = app_of(replace(UP, workers=(lossy,)), details=lambda request: True)
    (consumer,) = (await call(app, "/health/kafka")).json()["consumers"]
    assert consumer["records_lost"] == 106
    assert consumer["losses"] == [
        {
            "topic": "convex.orders",
            "partition": 3,
            "from": 4,
            "to": 10,
            "records": 6,
            "reason": "6 records are gone before they were read: 4..9",
            "seconds_ago": 61.5,
        }
    ]


async def test_details_say_whose_breaker_is_open_and_for_how_long() -> None:
    app = app_of(
        replace(UP, workers=(replace(WORKER, subscriptions=(BROKEN,)),)), details=lambda request: True
    )
    (consumer,) = (await call(app, "/health/kafka")).json()["consumers"]
    assert consumer["breakers_open"] == [{"handler": "orders.charge", "seconds": 12.5}]


async def test_details_say_who_has_paused_a_handler_and_why() -> None:
    paused = replace(BROKEN, breaker=None, paused=PAUSE)
    app = app_of(
        replace(UP, workers=(replace(WORKER, subscriptions=(paused,)),)), details=lambda request: True
    )
    (consumer,) = (await call(app, "/health/kafka")).json()["consumers"]
    assert consumer["paused"] == [
        {
            "handler": "orders.charge",
            "by": "ada",
            "at": "2026-01-01T12:00:00+00:00",
            "reason": "database away",
            "scope": "fleet",
        }
    ]


async def test_details_say_how_far_behind_and_how_fast_handlers_are_where_that_is_known() -> None:
    quick = replace(BROKEN, breaker=None, speed=Speed(12.34567, 0.0123456789, None))
    known = replace(PARTITION, lag=4, backlog=2, time_lag_seconds=1.23456)
    longer = replace(known, partition=4, lag=6, backlog=0, time_lag_seconds=7.0)
    worker = replace(WORKER, partitions=(PARTITION, known, longer), subscriptions=(quick, BROKEN))
    app = app_of(replace(UP, workers=(worker, WORKER)), details=lambda request: True)
    watched, another = (await call(app, "/health/kafka")).json()["consumers"]
    assert (watched["lag"], watched["backlog"], watched["time_lag_seconds"]) == (10, 2, 7.0)
    assert watched["speeds"] == [
        {
            "handler": "orders.charge",
            "rate": 12.346,
            "p50_seconds": 0.012346,
            "p95_seconds": None,
        }
    ]
    assert (another["lag"], another["backlog"], another["time_lag_seconds"]) == (None, None, None)
    assert another["speeds"] == []


async def test_details_say_which_offsets_cannot_be_committed_and_why() -> None:
    failing = replace(WORKER, commits_failing=(COMMITS_FAILING,))
    app = app_of(replace(UP, workers=(failing,)), details=lambda request: True)
    (consumer,) = (await call(app, "/health/kafka")).json()["consumers"]
    assert consumer["commits_failing"] == [
        {
            "topic": "convex.orders",
            "partition": 3,
            "seconds": 31.25,
            "times": 7,
            "reason": "the topic was deleted",
        }
    ]
