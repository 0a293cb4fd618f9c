"""An example app whose console has something on every page, and where each page of it stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from itertools import islice
from typing import NamedTuple

import httpx

from example_app.console import PREFIX
from tests.support.services import ROOT, Service, clean_environment
from tests.support.waiting import until
from tools import demo
from tools.kafka.common import HOST
from tools.processes import Child

USERS = "ada:her password:write,bob:his password:read"
ADA, BOB = ("ada", "her password"), ("bob", "his password")
CALLS = 60
"""Of the demo: eight users, and bets of which some fail."""


class Told(NamedTuple):
    """Where a page stands below the console's address, and what it has to tell, without scripts too."""

    path: str
    text: str


_RUNS = "group=bets&subscription=example_app.handlers.collect_stake"
_PAUSED = "group=bets&subscription=example_app.handlers.greet"

PAGES: dict[str, Told] = {
    "overview": Told("", "Became dead letters"),
    "subscriptions": Told("/subscriptions", "example_app.handlers.take_payment"),
    "pausing": Told(f"/subscriptions/pause?{_RUNS}", "would begin nothing new"),
    "resuming": Told(f"/subscriptions/resume?{_PAUSED}", "It was paused by ada: the mail server is away"),
    "dead-letters": Told("/dead-letters", "example_app.handlers.CardDeclined"),
    "one-by-one": Told("/dead-letters/list", "the bank declined the payment for bet"),
    "failed-alike": Told("/dead-letters/group/{group}", "which failed alike"),
    "dead-letter": Told("/dead-letters/{letter}", '"BetId":'),
    "validation": Told("/dead-letters/validate", "would be accepted"),
    "replay": Told("/dead-letters/replay", "letters"),
    "discard": Told("/dead-letters/discard?state=all&ids={letter}", "letter"),
    "reopen": Told("/dead-letters/reopen?ids={letter}", "open again"),
    "jobs": Told("/jobs", "replay"),
    "job": Told("/jobs/{job}", "ada"),
    "stopping": Told("/jobs/stop?id={job}", "It is over"),
    "tail": Told("/tail?topic=convex.bet.placed", '"BetId":'),
    "tail-of-nothing": Told("/tail", "Choose one of the app's topics"),
    "settings": Told("/settings", "bootstrap_servers"),
    "outboxes": Told("/outboxes", "This bus has no outbox"),
    "messages": Told("/asyncapi", "TakePayment"),
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
    before = len(service.get("/dead-letters"))
    made = list(islice(demo.calls(), calls))
    for call in made:
        service.post(call.path, call.body)
    buried = sum(call.fails for call in made)
    until(lambda: len(service.get("/dead-letters")) >= before + buried, 30, "failed payments to be buried")
    return buried


@contextmanager
def bets_go_on(service: Service) -> Iterator[None]:
    """`make demo` beside it."""
    words = (sys.executable, "-m", "tools.demo", HOST, str(service.port), "4")
    child = Child(words, service.log.with_name("demo.log"), env=clean_environment(), cwd=ROOT)
    try:
        until(lambda: len(service.get("/dead-letters")) >= 12, 60, "a dozen payments to fail")
        yield
    finally:
        child.kill()


def act(service: Service, path: str, **chosen: str) -> str:
    """What somebody does without a browser: reads what would be done, and agrees; where that leads."""
    page = console(service, path)
    (posted,) = re.findall(r'<form method="post".*?</form>', page, re.DOTALL)
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', posted)
    form: dict[str, list[str]] = {name: [value] for name, value in chosen.items()}
    for name, value in hidden:
        form.setdefault(unescape(name), []).append(unescape(value))
    answer = httpx.post(
        f"{service.address}{PREFIX}{path.partition('?')[0]}",
        data=form,
        auth=ADA,
        headers={"Origin": service.address},
        timeout=20,
    )
    assert answer.status_code == 303, f"{answer.status_code} from {path}: {answer.text}"
    return answer.headers["location"].removeprefix(PREFIX)


def shown_by(service: Service) -> Shown:
    """All of its pages, once something has failed, and something was done about that."""
    groups = list(links(console(service, "/dead-letters"), r"/dead-letters/group/(\w+)\?.*"))
    letters = list(links(console(service, f"/dead-letters/group/{groups[1]}"), r"/dead-letters/(\d+/\d+)"))
    act(service, f"/subscriptions/pause?{_PAUSED}", reason="the mail server is away")
    act(service, f"/dead-letters/discard?ids={letters[-1]}", reason="a bet of our own, to try it")
    job = act(service, f"/dead-letters/replay?rate=50&group_id={groups[0]}").removeprefix("/jobs/")
    until(lambda: "is done" in console(service, f"/jobs/{job}"), 20, "the replay to be done")
    return Shown(service, {"group": groups[1], "letter": letters[0], "job": job})
