"""An app with a console, the users that it lets in, and what is found in its pages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.routing import iter_route_contexts

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingRouter, MessagingSettings, Reject
from convex_messaging_fastapi.console import messaging_console
from convex_messaging_fastapi.testing import TestBench

PREFIX = "/messaging"
SAME_SITE = {"sec-fetch-site": "same-origin"}
HANDLER = "take_payment"


class Payment(ConvexMessage):
    amount: int


def may_read(request: Request) -> None:
    if request.headers.get("x-user") not in ("ada", "eve", "bob"):
        raise HTTPException(401)


def may_write(request: Request) -> None:
    if request.headers.get("x-user") == "bob":
        raise HTTPException(403)


def operator(request: Request) -> str:
    return request.headers["x-user"]


class Deployed:
    """What a later release changes: a card that is refused now is taken then."""

    def __init__(self) -> None:
        self.refuses = True
        self.taken: list[int] = []


def app_with(bus: MessageBus, *, writes: bool = True, **choices: Any) -> FastAPI:
    app = FastAPI(title="Shop")
    app.include_router(MessagingRouter(bus))
    if writes:
        choices = {"writes": [Depends(may_write)], "operator": operator} | choices
    app.include_router(messaging_console(bus, dependencies=[Depends(may_read)], **choices), prefix=PREFIX)
    return app


def shop(**settings: Any) -> tuple[MessageBus, Deployed]:
    """A bus whose only handler refuses every payment until it is deployed anew."""
    given = {"bootstrap_servers": "memory://", "consumer_group": "shop"} | settings
    bus, deployed = MessageBus(MessagingSettings(**given)), Deployed()

    @bus.subscriber("payments", id=HANDLER)
    async def take_payment(payment: Payment) -> None:
        if deployed.refuses:
            raise Reject(f"card refused for {payment.amount}")
        deployed.taken.append(payment.amount)

    bus.publishes("payments", Payment)
    return bus, deployed


@dataclass(frozen=True)
class Visit:
    """One visitor of an app that runs."""

    app: FastAPI
    bus: MessageBus
    deployed: Deployed
    bench: TestBench
    browser: httpx.AsyncClient

    async def fail(self, *amounts: int) -> None:
        for amount in amounts:
            await self.bus.publish("payments", Payment(amount=amount), key=str(amount))
        await self.bench.settle()
        self.bench.clock.advance(10)  # the list of before is no longer shown

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.browser.get(PREFIX + path, headers=headers)

    async def page(self, path: str) -> Page:
        found = await self.get(path)
        assert found.status_code == 200, found.text
        return Page(found.text)

    async def press(self, path: str, **typed: str) -> httpx.Response:
        """Look at what would be done, and press the button."""
        form = (await self.page(path)).form("post")
        return await self.browser.post(form.action, data={**form.fields, **typed}, headers=SAME_SITE)


@asynccontextmanager
async def visited(user: str | None = "ada", *, writes: bool = True, **settings: Any) -> AsyncIterator[Visit]:
    bus, deployed = shop(**settings)
    app = app_with(bus, writes=writes)
    async with bus.test(app) as bench, calling(app, user) as browser:
        await bench.settle()
        yield Visit(app, bus, deployed, bench, browser)


def calling(app: FastAPI, user: str | None = "ada") -> httpx.AsyncClient:
    headers = {} if user is None else {"x-user": user}
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://shop.example", headers=headers)


PATHS = {"id:path": "0/0", "id": "a-job", "group_id": "0123456789", "name": "console.js"}
"""What stands for each part of a path."""


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path of the console, each with something in the place of its parameters."""
    for context in iter_route_contexts(app.routes):
        if context.path is not None and context.path.startswith(PREFIX):
            path = re.sub(r"\{([^}]*)\}", lambda found: PATHS[found[1]], context.path)
            for method in sorted(getattr(context.original_route, "methods", None) or ()):
                yield method, path


@dataclass(frozen=True)
class Form:
    """As a browser would send it, nothing typed in."""

    action: str
    method: str
    fields: Mapping[str, list[str]]


class Page(HTMLParser):
    """A page's elements, in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._forms: list[Form] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attributes}
        self.elements.append((tag, told))
        if tag == "form":
            self._forms.append(Form(told["action"], told.get("method", "get"), {}))
            self._open = True
        elif tag == "input" and self._open and told.get("type") == "hidden":
            fields = self._forms[-1].fields
            assert isinstance(fields, dict)
            fields.setdefault(told["name"], []).append(told["value"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def form(self, method: str) -> Form:
        (found,) = [form for form in self._forms if form.method == method]
        return found

    def links(self) -> list[str]:
        return [each["href"] for each in self.all("a") if "href" in each]
