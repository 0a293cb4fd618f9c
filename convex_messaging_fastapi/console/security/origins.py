"""Whether a browser sent this request from a page of ours. Needs no cookie and no token."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from convex_messaging_fastapi.console.security.refused import Refused


def refuse_cross_site(request: Request) -> None:
    """Raises `Refused` for what another site asks for.

    `Sec-Fetch-Site` is what the browser itself says. An older browser says `Origin`, of which the host
    counts and not the scheme: TLS may end at a proxy. Who says neither is no browser with our page in it.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise _refused()
        return
    origin, host = request.headers.get("origin"), request.headers.get("host")
    if not origin or not host or _host_of(origin) != host.lower():
        raise _refused()


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:  # of what is no address at all
        return None


def _refused() -> Refused:
    return Refused(
        403,
        "This was not asked for by a page of this console.",
        "Open the console itself and try again. Behind a proxy: let it hand on the header Host as it came.",
    )
