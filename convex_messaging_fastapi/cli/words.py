"""What people write for a time, a size, or themselves, and what it means."""

from __future__ import annotations

import getpass
import re
import socket
from datetime import UTC, datetime

from convex_messaging_fastapi.cli.exits import Ended, ExitCode

_UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}


def instant(text: str) -> datetime:
    """A time, of this machine's zone where it names none. Raises `Ended`."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise Ended(
            ExitCode.USAGE, f"{text} is no time: write it as 2026-11-01T00:00, or 2026-11-01T00:00:00Z"
        ) from None
    return given.astimezone(UTC)


def moment(text: str) -> int:
    """The same as Unix milliseconds."""
    return int(instant(text).timestamp() * 1000)


def size(text: str) -> int:
    """Bytes. Raises `Ended`."""
    found = re.fullmatch(r"([0-9]{1,12})([kKmM]?)", text)
    if found is None:
        raise Ended(ExitCode.USAGE, f"{text} is no size: write it as 500, 64k or 1m")
    return int(found[1]) * _UNITS[found[2].lower()]


def me() -> str:
    """Whoever does something here, for those who ask later."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        name = "unknown"
    return f"{name}@{socket.gethostname()}"
