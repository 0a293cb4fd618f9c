"""What handlers and their dependencies find around them: the app, its state, and threads to run in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from starlette.requests import HTTPConnection

from convex_messaging_fastapi.consuming.decode_thread import DecodeThread
from convex_messaging_fastapi.consuming.threads import HandlerThreads


@dataclass(frozen=True, slots=True)
class CallContext:
    """`app` is the ASGI app, if there is one; `state` is what the bus's own lifespan shows to handlers."""

    app: Any | None
    state: Mapping[str, Any]
    threads: HandlerThreads
    decode_thread: DecodeThread = field(default_factory=DecodeThread)

    @property
    def overrides(self) -> Mapping[Any, Any]:
        """The app's `dependency_overrides` as they are now."""
        return getattr(self.app, "dependency_overrides", None) or {}

    def connection(self) -> HTTPConnection:
        """A connection that nobody made: the app, a copy of the state, and nothing else."""
        return HTTPConnection(
            {
                "type": "http",
                "app": self.app,
                "state": _State(self.state),
                "scheme": "http",
                "server": None,
                "client": None,
                "root_path": "",
                "path": "/",
                "query_string": b"",
                "path_params": {},
                "headers": [],
            }
        )


class _State(dict[str, Any]):
    """Without what the app's lifespan yields: FastAPI gives that to requests, and to no router's lifespan."""

    def __missing__(self, key: str) -> NoReturn:
        # No KeyError, which Starlette's `State` would replace by a sentence of its own.
        raise AttributeError(
            f"there is no {key!r} in the `conn.state` of a handler: what the app's lifespan yields reaches "
            f"requests alone. Let the lifespan set `app.state.{key}`, and ask for `conn.app.state.{key}`; or "
            "give that lifespan to the router, MessagingRouter(bus, lifespan=...), whose state handlers see"
        )
