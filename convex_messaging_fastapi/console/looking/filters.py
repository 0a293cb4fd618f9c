"""Which letters a request or a form means."""

from __future__ import annotations

from starlette.requests import Request

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.forms import Fields, filter_in
from convex_messaging_fastapi.operations import Filter


def wanted_by(desk: Desk, request: Request) -> Filter:
    """By an address, and by the path in it. Raises `Refused` where it can mean nothing."""
    query = request.query_params
    fields = {name: query.getlist(name) for name in query}
    if "group_id" in request.path_params:
        fields["group_id"] = [request.path_params["group_id"]]
    return wanted_in(desk, fields)


def wanted_in(desk: Desk, fields: Fields) -> Filter:
    """The same by a form."""
    with desk.refusing():
        return filter_in(fields)
