"""Durations as .NET's TimeSpan writes them: `[-][d.]hh:mm:ss[.fffffff]`, in steps of 100 nanoseconds."""

from __future__ import annotations

import re
from datetime import timedelta

from convex_messaging_fastapi.errors import EncodeError

PATTERN = r"-?([0-9]{1,8}\.)?[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,7})?"

LEAST = -timedelta(days=10675199, hours=2, minutes=48, seconds=5, microseconds=477580)
MOST = -LEAST
"""What 64 bits hold of those steps, in whole microseconds."""

_written = re.compile(
    r"(-)?(?:([0-9]{1,8})\.)?([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,7}))?"
)


TOO_LONG = (
    "it is a duration beyond .NET's TimeSpan, which has 10675199 days: "
    "send its number of seconds as an int or a float"
)


def written(duration: timedelta) -> str:
    """Raises `EncodeError` for what .NET cannot hold."""
    if not LEAST <= duration <= MOST:
        raise EncodeError(TOO_LONG)
    sign, positive = ("-", -duration) if duration.days < 0 else ("", duration)
    days = f"{positive.days}." if positive.days else ""
    minutes, seconds = divmod(positive.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{positive.microseconds:06}0" if positive.microseconds else ""
    return f"{sign}{days}{hours:02}:{minutes:02}:{seconds:02}{fraction}"


def read(text: str) -> timedelta | None:
    """`None` where the text has another form. The seventh digit of the fraction is cut off."""
    found = _written.fullmatch(text)
    if found is None:
        return None
    sign, days, hours, minutes, seconds, fraction = found.groups()
    duration = timedelta(
        days=int(days or 0),
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds),
        microseconds=int((fraction or "").ljust(6, "0")[:6]),
    )
    return -duration if sign else duration
