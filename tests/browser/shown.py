"""An example app whose console has something on every page, and where each page of it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from itertools import islice
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


class Told(NamedTuple):
    """Where a page stands below the console's address, and what it has to tell, without scripts too."""

    path: str
    text: str


_HANDLER = "group=bets&subscription=example_app.handlers.collect_stake"

PAGES: dict[str, Told] = {
    "overview": Told("", "Became dead letters"),
    "subscriptions": Told("/subscriptions", "example_app.handlers.take_payment"),
    "pausing": Told(f"/subscriptions/pause?{_HANDLER}", "example_app.handlers.collect_stake"),
    "dead-letters": Told("/dead-letters", "example_app.handlers.CardDeclined"),
    "one-by-one": Told("/dead-letters/list", "the bank declined the payment for bet"),
    "failed-alike": Told("/dead-letters/group/{group}", "which failed alike"),
    "dead-letter": Told("/dead-letters/{letter}", '"BetId":'),
    "validation": Told("/dead-letters/validate", "would be accepted"),
    "replay": Told("/dead-letters/replay", "letters"),
    "discard": Told("/dead-letters/discard?state=all&ids={letter}", "letter"),
    "jobs": Told("/jobs", "replay"),
    "job": Told("/jobs/{job}", "ada"),
    "nothing-found": Told("/dead-letters?topic=nothing", "No letter matches this filter"),
    "not-there": Told("/jobs/nothing", "There is no such job."),
}
"""In the order that somebody comes by them."""


class Shown(NamedTuple):
    """`named` is what stands for the braces in a path."""

    service: Service
    named: dict[str, str]

    @property
    def address(self) -> str:
        return self.service.address + PREFIX

    def path(self, name: str) -> str:
        return PAGES[name].path.format(**self.named)


def console(service: Service, path: str = "", user: tuple[str, str] = ADA) -> str:
    """The HTML of a page of the console."""
    answer = httpx.get(service.address + PREFIX + path, auth=user, timeout=20)
    assert answer.status_code == 200, f"{answer.status_code} from {path}: {answer.text}"
    return answer.text


def links(html: str, pattern: str) -> Iterator[str]:
    """What a page's links hold of the pattern's group, below the console's address."""
    for address in re.findall(r'href="([^"]+)"', html):
        if found := re.fullmatch(pattern, unescape(address).removeprefix(PREFIX)):
            yield found[1]


def fill(service: Service, calls: int = CALLS) -> int:
    """Bets come in, and some of their payments are buried; how many."""
    made = list(islice(demo.calls(), calls))
    for call in made:
        service.post(call.path, call.body)
    buried = sum(call.fails for call in made)
    until(lambda: len(service.get("/dead-letters")) == buried, 30, "every failed payment to be buried")
    return buried


def shown_by(service: Service) -> Shown:
    """All of its pages, once it has something to show on each."""
    fill(service)
    groups = links(console(service, "/dead-letters"), r"/dead-letters/group/(\w+)\?.*")
    letters = links(console(service, "/dead-letters/list"), r"/dead-letters/(\d+/\d+)")
    return Shown(service, {"group": next(groups), "letter": next(letters), "job": "nothing"})
