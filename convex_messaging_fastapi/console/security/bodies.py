"""Reads a form, of a size that was looked at first."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request

from convex_messaging_fastapi.console.security.refused import Refused

MAX_BYTES = 1024 * 1024
"""A form of a page of ours has a tenth of it at most."""

MAX_FIELDS = 2000
FORM = "application/x-www-form-urlencoded"


def refuse_large(request: Request) -> None:
    """Raises `Refused` for a body that says it is too large, before any of it is read."""
    said = request.headers.get("content-length", "0")
    if not (said.isascii() and said.isdigit()) or int(said[:20]) > MAX_BYTES:
        raise _too_large()


async def form_in(request: Request) -> Mapping[str, tuple[str, ...]]:
    """The fields of a form. Raises `Refused` for anything else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise Refused(415, "This is no form.", f"Send it as {FORM}, as the pages of the console do.")
    body = await _body(request)
    try:
        found = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Refused(400, "The form has too many fields.", f"It may have {MAX_FIELDS}.") from None
    return {name: tuple(values) for name, values in found.items()}


async def _body(request: Request) -> bytes:
    """At most so much: who sends it in chunks need not say how much it is."""
    read = bytearray()
    try:
        async for chunk in request.stream():
            if len(read) + len(chunk) > MAX_BYTES:
                raise _too_large()
            read += chunk
    except ClientDisconnect:
        raise Refused(400, "The form did not arrive whole.", "Send it again.") from None
    return bytes(read)


def _too_large() -> Refused:
    return Refused(413, "The request is too large.", "Forms of the console have less than 1 MiB.")
