"""One line of the log: one logger, control characters escaped, at most `MAX_LINE` characters a text."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from convex_messaging_fastapi.messages.validation_errors import one_line

logger: logging.Logger = logging.getLogger("convex_messaging_fastapi")

MAX_LINE = 5000


def say(
    level: int,
    text: str,
    *args: object,
    extra: Mapping[str, Any] | None = None,
    exc_info: BaseException | None = None,
) -> None:
    if logger.isEnabledFor(level):
        shown = (one_line(str(arg), MAX_LINE) for arg in args)
        logger.log(level, one_line(text, MAX_LINE), *shown, extra=extra, exc_info=exc_info)


def quietly(level: int, is_known: bool) -> int:
    """DEBUG for what the log has said already: whoever debugs still sees each time."""
    return logging.DEBUG if is_known else level
