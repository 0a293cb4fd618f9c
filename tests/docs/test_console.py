"""What the page about the console shows is run, and does what it says."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

import httpx
import pytest

from convex_messaging_fastapi.console.drawing import NAVIGATION
from convex_messaging_fastapi.console.security.bodies import MAX_BYTES
from convex_messaging_fastapi.console.security.tokens import SECONDS
from tests.readme.reading import FIRST, PAGES, blocks

PAGE = PAGES["console.md"]
SHOWS, ACTS = (block.text for block in blocks(PAGE) if block.language == "python")
LINES = [line for block in blocks(PAGE) if block.language == "sh" for line in block.text.splitlines()]


@asynccontextmanager
async def served(piece: str, patch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """The first service with this at its end."""
    patch.setenv("KAFKA_BOOTSTRAP_SERVERS", "memory://")
    patch.setenv("KAFKA_CONSUMER_GROUP", "users")
    main = ModuleType("main_of_the_console_page")
    patch.setitem(sys.modules, main.__name__, main)
    exec(compile(f"{FIRST}\n\n{piece}", "main.py", "exec", dont_inherit=True), vars(main))  # noqa: S102
    transport = httpx.ASGITransport(main.app)
    async with (
        main.bus.test(main.app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as http,
    ):
        yield http


async def test_it_is_shown_to_whom_the_dependency_lets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(SHOWS, monkeypatch) as http:
        assert (await http.get("/messaging")).status_code == 401
        admin = {"X-Role": "admin"}
        for path, _ in NAVIGATION:
            assert (await http.get(f"/messaging{path}", headers=admin)).status_code == 200, path
        assert (await http.get("/messaging/dead-letters/discard", headers=admin)).status_code == 403


async def test_the_commands_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(SHOWS, monkeypatch) as http:
        for line in LINES:
            curl, silent, header, told, address = shlex.split(line)
            assert (curl, silent, header) == ("curl", "-s", "-H")
            answer = await http.get(address, headers=dict([told.split(": ")]))
            assert answer.status_code == 200, line
    assert len(LINES) == 2


async def test_whoever_is_on_call_acts_and_others_look(monkeypatch: pytest.MonkeyPatch) -> None:
    discard = "/ops/messaging/dead-letters/discard"
    async with served(ACTS, monkeypatch) as http:
        logins = {("ada", "correct horse"): 200, ("bob", "battery staple"): 403, ("bob", "guessed"): 401}
        for login, status in logins.items():
            assert (await http.get(discard, auth=login)).status_code == status
        assert (await http.get("/ops/messaging", auth=("bob", "battery staple"))).status_code == 200
        assert (await http.get("/ops/messaging")).status_code == 401


def test_every_page_is_in_the_table() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE)
    assert {name for _, name in NAVIGATION} <= set(rows)


def test_its_numbers_are_those_that_count() -> None:
    assert (SECONDS, MAX_BYTES) == (3600, 1024 * 1024)
    for word in ("A page stands for an hour", "Forms are at most 1 MiB", "at least 16 characters"):
        assert word in PAGE
