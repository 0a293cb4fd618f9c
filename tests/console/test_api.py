"""The answers in JSON are those that their document describes, whatever is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from convex_messaging_fastapi.console.api.models import Problem
from convex_messaging_fastapi.verdicts import REASONS
from tests.console.support import PREFIX, Visit, app_with, calling, shop, visited


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    async with visited() as visit:
        await visit.fail(1, 2, 3)
        yield visit


async def document(visit: Visit) -> dict[str, Any]:
    found: dict[str, Any] = (await visit.get("/api/openapi.json")).json()
    return found


async def test_the_document_is_that_of_this_console_and_describes_gets_alone(visit: Visit) -> None:
    told = await document(visit)
    assert told["servers"] == [{"url": PREFIX}]
    assert {method for path in told["paths"].values() for method in path} == {"get"}
    assert len(told["paths"]) == 13
    assert PREFIX not in visit.app.openapi()["paths"]
    assert not [path for path in visit.app.openapi()["paths"] if path.startswith(PREFIX)]


async def test_every_answer_has_an_etag_and_is_kept_by_nobody(visit: Visit) -> None:
    for path in (await document(visit))["paths"]:
        id = "x" if "jobs" in path else "3/0"
        address = path.replace("{id}", id) + ("?topic=convex.payments" if path == "/api/tail" else "")
        answer = await visit.get(address)
        assert (answer.headers["cache-control"], answer.headers["content-type"]) == (
            "no-store",
            "application/json",
        ), path
        assert ("etag" in answer.headers) == (answer.status_code == 200), path


@pytest.mark.parametrize(
    "path",
    [
        "/api/dead-letters?limit=-1",
        "/api/dead-letters?limit=1001",
        "/api/dead-letters?limit=x",
        "/api/dead-letters?state=moon",
        "/api/dead-letters?since=yesterday",
        "/api/dead-letters?since=2026-01-02&until=2026-01-01",
        "/api/dead-letters?ids=x",
        "/api/dead-letters?group_id=x",
        "/api/dead-letters?after=x",
        "/api/dead-letters?min_replays=-1",
        "/api/dead-letters/x",
        "/api/validation?state=moon",
        "/api/tail?topic=convex.payments&after=x",
        "/api/tail?topic=convex.payments&limit=0",
        "/api/tail?topic=convex.payments&limit=201",
    ],
)
async def test_what_cannot_be_meant_is_told_in_a_sentence(visit: Visit, path: str) -> None:
    answer = await visit.get(path)
    assert answer.status_code == 400, answer.text
    assert Problem.model_validate(answer.json()).help


@pytest.mark.parametrize(
    "path", ["/api/dead-letters/0/99", "/api/jobs/x", "/api/tail?topic=convex.x", "/api/tail", "/api/moon"]
)
async def test_what_is_not_there_is_not_found(visit: Visit, path: str) -> None:
    assert (await visit.get(path)).status_code == 404


async def test_a_tail_goes_on_where_it_ended(visit: Visit) -> None:
    first = (await visit.get("/api/tail?topic=convex.payments&limit=2")).json()
    assert len(first["messages"]) == 2
    await visit.fail(9)
    more = (await visit.get(f"/api/tail?topic=convex.payments&after={first['next']}")).json()
    assert [each["key"] for each in more["messages"]] == ["9"]
    assert more["passed"] == 0
    none = (await visit.get(f"/api/tail?topic=convex.payments&after={more['next']}")).json()
    assert (none["messages"], none["next"]) == ([], more["next"])


async def test_a_tail_says_how_many_it_passed_over(visit: Visit) -> None:
    start = (await visit.get("/api/tail?topic=convex.payments")).json()["next"]
    await visit.fail(*range(10, 30))
    told = (await visit.get(f"/api/tail?topic=convex.payments&limit=5&after={start}")).json()
    assert len(told["messages"]) + told["passed"] == 20
    assert len(told["messages"]) == 5


async def test_the_broker_away_is_told_by_a_word_of_the_closed_list(visit: Visit) -> None:
    visit.bench.broker.down()
    visit.bench.clock.advance(20)
    for path in ("/api/dead-letters", "/api/dead-letters/3/0", "/api/validation", "/api/jobs"):
        answer = await visit.get(path)
        assert answer.status_code == 503, answer.text
        assert answer.json()["reason"] in REASONS
        assert answer.headers["retry-after"] == "5"
    page = await visit.get("/dead-letters")
    assert page.status_code == 503
    assert "No broker has been heard of" in page.text
    for path in ("", "/subscriptions", "/settings", "/api/health", "/api/course"):
        assert (await visit.get(path)).status_code == 200, path


async def test_before_the_start_and_after_the_stop_the_console_says_so() -> None:
    bus, _ = shop()
    app = app_with(bus)
    async with calling(app) as browser:
        for reason in ("not_started", "stopped"):
            for path in ("/api/dead-letters", "/api/jobs"):
                answer = await browser.get(PREFIX + path)
                assert (answer.status_code, answer.json()["reason"]) == (503, reason), path
            assert (await browser.get(PREFIX)).status_code == 200
            assert (await browser.get(PREFIX + "/settings")).status_code == 200
            if reason == "not_started":
                async with bus.test(app):
                    pass


def answered_cases(count: int) -> None:
    """Ask each operation whatever its document allows until `count` cases were answered with 200.

    Every answer fits the document, none is a 500.
    """
    asyncio.run(_ask(count))


async def _ask(count: int) -> None:
    async with visited() as visit:
        await visit.fail(*range(20))
        pressed = await visit.press("/dead-letters/discard?ids=3/0", reason="x")
        job = pressed.headers["location"].rpartition("/")[2]
        visit.bench.clock.advance(10)
        listed = (await visit.get("/api/dead-letters?state=all")).json()
        told = narrowed(await document(visit), [each["id"] for each in listed["letters"]], job)
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(_each_operation, told, visit, loop, count)


def _each_operation(told: dict[str, Any], visit: Visit, loop: asyncio.AbstractEventLoop, count: int) -> None:
    import schemathesis
    from schemathesis.core.result import Ok

    schema = schemathesis.openapi.from_dict(told)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        said = operation.definition.raw
        good = list[bool]()
        ask = partial(_ask_once, visit=visit, loop=loop, told=told, said=said, good=good)
        while sum(good) < count:  # one without parameters is one case to hypothesis
            _generate(operation.as_strategy(), ask, count * 2)
            assert any(good), operation.path


def _generate(cases: st.SearchStrategy[Any], ask: Callable[[Any], None], most: int) -> None:
    @settings(
        max_examples=most,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=cases)
    def each(case: Any) -> None:
        ask(case)

    each()


def _ask_once(
    case: Any,
    *,
    visit: Visit,
    loop: asyncio.AbstractEventLoop,
    told: Mapping[str, Any],
    said: Mapping[str, Any],
    good: list[bool],
) -> None:
    sent = case.as_transport_kwargs(base_url=f"http://shop.example{PREFIX}")
    answer = asyncio.run_coroutine_threadsafe(_asked(visit.browser, sent), loop).result(20)
    good.append(_fits(answer, said, told))


async def _asked(browser: httpx.AsyncClient, sent: Mapping[str, Any]) -> httpx.Response:
    given = {name: sent[name] for name in ("params", "headers") if sent.get(name)}
    given["headers"] = {"x-user": "ada"}
    return await browser.request(sent["method"], sent["url"], **given)


def _fits(answer: httpx.Response, operation: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    assert answer.status_code in (200, 400, 404), answer.text
    described = operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
    schema = {**described, "components": told["components"]}
    Draft202012Validator(schema).validate(answer.json())
    return answer.status_code == 200


def narrowed(told: dict[str, Any], ids: list[str], job: str) -> dict[str, Any]:
    """The document with the ids that there are, or nearly every case would be answered with 404."""
    enums = {
        ("/api/dead-letters/{id}", "id"): ids,
        ("/api/jobs/{id}", "id"): [job],
        ("/api/tail", "topic"): ["convex.payments", "convex.dlq"],
    }
    for path, said in told["paths"].items():
        for parameter in said["get"]["parameters"]:
            if (path, parameter["name"]) in enums:
                parameter["schema"] = {"enum": enums[path, parameter["name"]]}
            elif parameter["name"] == "after":
                parameter["schema"] = {"enum": ["0:1", "0:0,1:1"] if path == "/api/tail" else ["1:0/1"]}
    return told


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.long)])
def test_whatever_the_document_allows_is_answered_as_it_says(count: int) -> None:
    answered_cases(count)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.text(max_size=50))
def test_no_text_of_an_address_is_an_error_of_ours(text: str) -> None:
    from convex_messaging_fastapi import ConfigurationError
    from convex_messaging_fastapi.console.forms import NAMES, fields_of, filter_in

    for name in NAMES:
        try:
            wanted = filter_in({name: [text]})
        except ConfigurationError:
            continue
        assert filter_in(fields_of(wanted)) == wanted
