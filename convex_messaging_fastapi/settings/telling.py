"""The settings that count, for people: each value without its secret, and where it comes from."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings.model import MessagingSettings
from convex_messaging_fastapi.settings.sources import read

HIDDEN = "(set, not shown)"


def values_of(settings: MessagingSettings) -> dict[str, Any]:
    """By name, in the order of its page; a secret as whether it is set."""
    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {
        name: HIDDEN if isinstance(value, SecretStr) or callable(value) else value
        for name, value in given.items()
    }


def origins_of(settings: MessagingSettings) -> dict[str, str]:
    """Settings do not remember their sources, so those are read again: what differs was given in code.

    Raises `ConfigurationError` for a file that cannot be read any more.
    """
    kind = type(settings)
    reading = read(kind, {}, within=False)
    try:
        outside: MessagingSettings | None = kind()
    except ConfigurationError:
        outside = None
    return {
        name: reading.origin(name)
        if outside is not None and getattr(outside, name) == getattr(settings, name)
        else "given in code, or on the command line"
        for name in kind.model_fields
    }
