"""The pages that act: a page that says what would be done, and the form on it that does it.

Every one passes the same gate, so that none can be without it: the dependencies, the origin, the size and the
kind of the form, who it is, and the token of exactly what the page has shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, params
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from convex_messaging_fastapi.console.actions import ACTIONS, Action
from convex_messaging_fastapi.console.actions.shape import MAX_REASON
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.forms import one
from convex_messaging_fastapi.console.pages.view import View
from convex_messaging_fastapi.console.routes.serving import Endpoint, base_of, page, refusal
from convex_messaging_fastapi.console.security import Refused, form_in, refuse_cross_site

_UNSIGNED = ("token", "reason")
"""What whoever confirms fills in."""


def add_actions(router: APIRouter, desk: Desk, writes: Sequence[params.Depends]) -> None:
    for action in ACTIONS:
        for method, endpoint in (("GET", _confirmation(desk, action)), ("POST", _deed(desk, action))):
            router.add_api_route(
                action.path, endpoint, methods=[method], dependencies=[*writes], include_in_schema=False
            )


def _confirmation(desk: Desk, action: Action) -> Endpoint:
    async def show(desk: Desk, request: Request) -> View:
        by = await desk.who(request)
        query = request.query_params
        fields = {name: tuple(query.getlist(name)) for name in query}
        found = await action.confirm(desk, fields, by)
        token = desk.tokens.sign(by, action.name, found.shown)
        return View("confirm.html", {"title": found.title, "action": action, "found": found, "token": token})

    return page(desk, show, action.path)


def _deed(desk: Desk, action: Action) -> Endpoint:
    async def done(request: Request) -> Response:
        base = base_of(request, action.path)
        try:
            refuse_cross_site(request)
            form = await form_in(request)
            by = await desk.who(request)
            token = one(form, "token")
            shown = {name: values for name, values in form.items() if name not in _UNSIGNED}
            desk.tokens.check(token, by, action.name, shown)
            reason = one(form, "reason")[:MAX_REASON]
            address = await desk.once(token, action.act(desk, shown, by, reason))
        except Refused as refused:
            return refusal(request, base, refused)
        return RedirectResponse(f"{base}{address}", 303)

    return done
