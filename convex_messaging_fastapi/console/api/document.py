"""The OpenAPI document of `/api`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

ABOUT = (
    "What the pages of the console show, as JSON. It is read alone; who is let in is the app's own affair. "
    "Every answer has an ETag: send it as If-None-Match, and 304 says that nothing has changed."
)


def document_of(routes: Sequence[BaseRoute], base: str) -> dict[str, Any]:
    """`base` is where the console is."""
    return get_openapi(
        title="Messaging console",
        version="1",
        description=ABOUT,
        routes=routes,
        servers=[{"url": base or "/"}],
    )
