"""Notes the id of each HTTP request, for the messages that are published while it is served."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from convex_messaging_fastapi.publishing.correlation import checked_request_id, current_request_id


class CorrelationMiddleware:
    """Makes `X-Request-ID` of a request the `correlation-id` of the messages that it publishes.

        app.add_middleware(CorrelationMiddleware)

    It counts in `async` and `def` endpoints, their dependencies and their background tasks. An id given
    to `publish` wins over it, and so does the id of a message that is being handled. An id of more than
    256 characters, or with others than letters, digits and `._:/+=-`, is ignored. A request without an
    id gets none, and neither does the response. WebSockets and lifespans pass through.
    """

    def __init__(self, app: ASGIApp, header: str = "X-Request-ID") -> None:
        self._app = app
        self._header = header.lower().encode("latin-1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._id_in(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        token = current_request_id.set(found)
        try:
            await self._app(scope, receive, send)
        finally:
            current_request_id.reset(token)

    def _id_in(self, scope: Scope) -> str | None:
        """The first valid one."""
        values = (value.decode("latin-1") for name, value in scope["headers"] if name == self._header)
        return next((id for value in values if (id := checked_request_id(value)) is not None), None)
