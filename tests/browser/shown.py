"""An example app whose console has something on every page, and where each page of it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import httpx

from example_app.console import PREFIX
from tests.support.services import Service
from tests.support.waiting import until
from tools import demo

USERS = "ada:her password:write,bob:his password:read"
ADA, BOB = ("ada", "her password"), ("bob", "his password")
CALLS = 60
"""Of the demo: eight users, and bets of which some fail."""


class Shown(NamedTuple):
    """`pages` are paths, each by a name for it."""

    service: Service
    pages: dict[str, str]


def console(service: Service, path: str = "", user: tuple[str, str] = ADA) -> str:
    """The HTML of a page of the console."""
    answer = httpx.get(service.address + PREFIX + path, auth=user, timeout=20)
    assert answer.status_code == 200, f"{answer.status_code} from {path}: {answer.text}"
    return answer.text


def links(html: str, pattern: str) -> Iterator[str]:
    """Where a page leads, below the console's address."""
    for address in re.findall(r'href="([^"]+)"', html):
        path = unescape(address).removeprefix(PREFIX)
        if re.fullmatch(pattern, path):
            yield path


def fill(service: Service, calls: int = CALLS) -> int:
    """Bets come in, and some of their payments are buried; how many."""
    made = list(islice(demo.calls(), calls))
    for call in made:
        service.post(call.path, call.body)
    buried = sum(call.fails for call in made)
    until(lambda: len(service.get("/dead-letters")) == buried, 30, "every failed payment to be buried")
    return buried
