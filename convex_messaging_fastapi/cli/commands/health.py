"""`health`: what a running service says of itself."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.session import Session

_PATH = "/health/kafka"
_LONGEST = 64 * 1024


def add_to(root: typer.Typer) -> None:
    command(root, "health", without=("app", "app_dir", "bootstrap_servers"))(health)


def health(
    session: Session,
    url: Annotated[str, typer.Option("--url", help=f"Of the service; {_PATH} where it has no path.")],
    live: Annotated[bool, typer.Option("--live", help="Only whether a restart would help.")] = False,
    ready: Annotated[bool, typer.Option("--ready", help="Only whether to send traffic.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds.")] = 5.0,
) -> ExitCode:
    """Ask a running service how it is. Ends with 1 where it says that it is not well."""
    if live and ready:
        raise Ended(ExitCode.USAGE, "--live or --ready, not both")
    status, told = _asked(_full(url) + ("/live" if live else "/ready" if ready else ""), timeout)
    if session.out.as_json:
        session.out.json(told)
    else:
        reasons = ", ".join(map(str, told.get("reasons", ())))
        session.out.line(f"{told.get('status')}{f': {reasons}' if reasons else ''}")
    return ExitCode.OK if status == 200 else ExitCode.WRONG


def _full(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Ended(ExitCode.USAGE, f"{url} is no address of a service: give http://host:port")
    path = parts.path.rstrip("/") or _PATH
    return f"{parts.scheme}://{parts.netloc}{path}"


def _asked(url: str, seconds: float) -> tuple[int, dict[str, Any]]:
    """The status and the answer of a probe. Raises `Ended` for an answer that is none."""
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=seconds) as response:  # noqa: S310 - of http and https alone
            status, body = response.status, response.read(_LONGEST)
    except HTTPError as error:
        with error:
            status, body = error.code, error.read(_LONGEST)
    except (URLError, OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise Ended(
            ExitCode.AWAY,
            f"{url} gives no answer: {getattr(why, 'strerror', None) or why}. Does the service run, and is "
            "this its port?",
        ) from error
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if isinstance(told, dict) and "status" in told:
        return status, told
    if status in (401, 403):
        raise Ended(ExitCode.REFUSED, f"{url} answers {status}: ask with --ready or --live, which are open")
    raise Ended(
        ExitCode.NOT_FOUND, f"{url} answers {status}, and nothing that a MessagingRouter would answer"
    )
