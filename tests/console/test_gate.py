"""Nobody passes who may not: each rule of the gate, on every route of the console."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import Depends

from convex_messaging_fastapi import ConfigurationError, MessageBus
from convex_messaging_fastapi.console import messaging_console
from convex_messaging_fastapi.console.actions import ACTIONS
from tests.console.support import (
    HANDLER,
    PREFIX,
    SAME_SITE,
    Visit,
    app_with,
    calling,
    may_read,
    operator,
    routes_of,
    visited,
)

WRITES = [("POST", PREFIX + action.path) for action in ACTIONS]
ROUTES = sorted(set(routes_of(app_with(MessageBus()))))
PAUSE = f"/subscriptions/pause?group=shop&subscription={HANDLER}"
LARGE = 1024 * 1024 + 1


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    async with visited() as visit:
        yield visit


def test_the_loops_below_meet_every_page_file_answer_and_action() -> None:
    assert set(WRITES) < set(ROUTES)
    assert len(ROUTES) > 35
    for path in ("", "/assets/console.js", "/api/openapi.json", "/download/0/0"):
        assert ("GET", PREFIX + path) in ROUTES


def test_only_actions_can_be_posted_to_and_the_rest_is_read_alone() -> None:
    assert {(method, path) for method, path in ROUTES if method != "GET"} == set(WRITES)


@pytest.mark.parametrize("dependencies", [[], None, [may_read]], ids=["an empty list", "None", "no Depends"])
def test_a_console_is_not_made_without_a_dependency(dependencies: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"\[Depends\(require_admin\)\]"):
        messaging_console(MessageBus(), dependencies=dependencies)


def test_who_may_write_and_who_it_was_are_told_together() -> None:
    letting = [Depends(may_read)]
    for half in ({"writes": letting}, {"operator": operator}):
        with pytest.raises(ConfigurationError, match="both, or neither"):
            messaging_console(MessageBus(), dependencies=letting, **half)


async def test_whoever_is_not_logged_in_gets_nothing_from_any_route(visit: Visit) -> None:
    async with calling(visit.app, user=None) as stranger:
        for method, path in ROUTES:
            answer = await stranger.request(method, path, headers=SAME_SITE)
            assert answer.status_code == 401, (method, path)


async def test_whoever_may_only_read_can_do_nothing(visit: Visit) -> None:
    async with calling(visit.app, user="bob") as reader:
        for method, path in WRITES:
            for each in (method, "GET"):
                answer = await reader.request(each, path, headers=SAME_SITE, data={"token": "1.x"})
                assert answer.status_code == 403, (each, path)
        assert (await reader.get(PREFIX)).status_code == 200


async def test_a_console_that_only_shows_has_no_buttons_and_refuses_every_write() -> None:
    async with visited(writes=False) as visit:
        await visit.fail(1)
        for method, path in WRITES:
            answer = await visit.browser.request(method, path, headers=SAME_SITE, data={"token": "1.x"})
            assert answer.status_code == 403, path
        for path in ("/subscriptions", "/dead-letters", "/dead-letters/list"):
            links = (await visit.page(path)).links()
            assert not [link for link in links if any(action.path in link for action in ACTIONS)], path


FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "cross-site", "origin": "http://shop.example"},
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://[broken"},
    {},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_another_site_can_do_nothing(visit: Visit, headers: dict[str, str]) -> None:
    form = (await visit.page(PAUSE)).form("post")
    for _, path in WRITES:
        answer = await visit.browser.post(path, data=form.fields, headers=headers)
        assert answer.status_code == 403, path
        assert "not asked for by a page" in answer.text
    (worker,) = visit.bus.status().workers
    assert worker.subscriptions[0].paused is None


@pytest.mark.parametrize("origin", ["http://shop.example", "https://shop.example", "https://SHOP.example"])
async def test_an_older_browser_says_the_origin_and_tls_may_end_before(visit: Visit, origin: str) -> None:
    form = (await visit.page(PAUSE)).form("post")
    answer = await visit.browser.post(form.action, data=form.fields, headers={"origin": origin})
    assert answer.status_code == 303


async def test_what_is_no_form_is_refused(visit: Visit) -> None:
    for _, path in WRITES:
        for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x", ""):
            headers = {**SAME_SITE, "content-type": kind}
            answer = await visit.browser.post(path, content=b"{}", headers=headers)
            assert answer.status_code == 415, (path, kind)


async def test_a_token_of_another_operator_action_form_or_none_is_refused(visit: Visit) -> None:
    form = (await visit.page(PAUSE)).form("post")
    fields = dict(form.fields)

    async def refused(client: httpx.AsyncClient, path: str, sent: object) -> bool:
        answer = await client.post(path, data=sent, headers=SAME_SITE)  # type: ignore[arg-type]
        return answer.status_code == 403 and "too old, or was made for somebody else" in answer.text

    async with calling(visit.app, user="eve") as other:
        assert await refused(other, form.action, fields)
    for _, path in WRITES:
        assert path == form.action or await refused(visit.browser, path, fields), path
        for token in ("", "1", "9999999999.x", "99999999999999.\u00e9", "\u0663.x", "-1.x"):
            assert await refused(visit.browser, path, fields | {"token": token}), (path, token)
    assert await refused(visit.browser, form.action, fields | {"scope": "process"})
    assert await refused(visit.browser, form.action, fields | {"more": "1"})
    assert (await visit.browser.post(form.action, data=fields, headers=SAME_SITE)).status_code == 303


async def test_large_bodies_are_refused_before_any_of_them_is_read(visit: Visit) -> None:
    for method, path in ROUTES:
        for headers in (
            [(b"content-length", str(LARGE).encode())],
            [(b"content-length", b"9" * 400)],
            [(b"content-length", b"x")],
        ):
            assert await read_of(visit, method, path, headers, chunks=16) == (413, 0), (method, path)


async def test_a_body_that_tells_no_size_is_read_to_the_limit_and_no_further(visit: Visit) -> None:
    for method, path in WRITES:
        status, read = await read_of(visit, method, path, [], chunks=100)
        assert (status, read) == (413, 17), path


async def test_nothing_is_read_of_whoever_is_not_let_in(visit: Visit) -> None:
    for method, path in ROUTES:
        status, read = await read_of(visit, method, path, [], chunks=16, user="nobody")
        assert (status, read) == (401, 0), path


async def read_of(
    visit: Visit,
    method: str,
    path: str,
    headers: list[tuple[bytes, bytes]],
    *,
    chunks: int,
    user: str = "ada",
) -> tuple[int, int]:
    """The status code, and how many chunks of 64 KiB were read before it."""
    read, status = 0, list[int]()

    async def receive() -> dict[str, object]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"a" * 65536, "more_body": read < chunks}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            assert isinstance(message["status"], int)
            status.append(message["status"])

    told = [
        (b"host", b"shop.example"),
        (b"x-user", user.encode()),
        (b"sec-fetch-site", b"same-origin"),
        (b"content-type", b"application/x-www-form-urlencoded"),
        *headers,
    ]
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": told,
        "client": ("127.0.0.1", 1), "server": ("shop.example", 80), "state": {},
    }  # fmt: skip
    await visit.app(scope, receive, send)  # type: ignore[arg-type]
    return status[0], read


async def test_too_many_callers_at_once_are_told_to_come_again(visit: Visit) -> None:
    """What is shown without asking the cluster stays open to all."""
    answers = await asyncio.gather(*(visit.get("/api/dead-letters") for _ in range(60)))
    told = [answer.status_code for answer in answers]
    assert set(told) == {200, 429}
    assert told.count(200) >= 16
    assert all(answer.headers["retry-after"] == "2" for answer in answers if answer.status_code == 429)
    assert (await visit.get("/api/dead-letters")).status_code == 200


async def test_every_answer_tells_the_browser_to_load_nothing_else_and_to_keep_nothing(visit: Visit) -> None:
    for method, path in ROUTES:
        answer = await visit.browser.request(method, path, headers=SAME_SITE)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'"), path
        assert "unsafe" not in policy
        for word in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
            assert word in policy, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        kept = answer.headers["cache-control"]
        assert kept == ("private, no-cache" if "/assets/" in path else "no-store"), path
