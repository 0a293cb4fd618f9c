"""Signs what a page has shown, so that what is done is what was shown, by whom it was shown, and soon."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from convex_messaging_fastapi.console.security.refused import Refused

SECONDS = 3600
"""How long a page may stand before its button is pressed."""

Shown = Mapping[str, Sequence[str]]
"""The fields of a form that the page itself has filled in."""


class Tokens:
    """Of one secret. Processes with the same secret take each other's tokens."""

    def __init__(self, secret: Callable[[], str | None], now: Callable[[], float] = time.time) -> None:
        self._secret, self._now = secret, now
        self._own = secrets.token_hex(32)

    def sign(self, by: str, action: str, shown: Shown) -> str:
        until = int(self._now()) + SECONDS
        return f"{until}.{self._mac(by, action, shown, until)}"

    def check(self, token: str, by: str, action: str, shown: Shown) -> None:
        """Raises `Refused` for a token of another operator, action, form or secret, and for one too old."""
        until, _, mac = token.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) <= 12 and mac.isascii()):
            raise _refused()
        if not hmac.compare_digest(mac, self._mac(by, action, shown, int(until))):
            raise _refused()
        if int(until) < self._now():
            raise _refused()

    def _mac(self, by: str, action: str, shown: Shown, until: int) -> str:
        said = json.dumps([by, action, until, sorted((name, *values) for name, values in shown.items())])
        key = (self._secret() or self._own).encode()
        return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()


def _refused() -> Refused:
    return Refused(
        403,
        "This page is too old, or was made for somebody else; nothing was done.",
        "Go back, reload the page, and press the button again. Where several processes serve the console, "
        "give all of them the same `console_secret` (KAFKA_CONSOLE_SECRET).",
    )
