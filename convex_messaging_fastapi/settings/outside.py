"""The two sources of `MessagingSettings` as pydantic-settings wants them: the call, and all outside it."""

from __future__ import annotations

from typing import Any

from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from convex_messaging_fastapi.settings.explain import secret_names
from convex_messaging_fastapi.settings.sources import Found, conceal, find, is_blank

# An empty prefix in code is a choice; there is no other way to say that there is none.
_MAY_BE_EMPTY = "topic_prefix"


def given_in_code(
    settings: type[BaseSettings], arguments: PydanticBaseSettingsSource
) -> PydanticBaseSettingsSource:
    """The arguments of the call, but for texts that are empty: those are not set."""
    given = {
        name: value
        for name, value in arguments().items()
        if value is None or name == _MAY_BE_EMPTY or not is_blank(value)
    }
    return InitSettingsSource(settings, given)


def found_outside(settings: type[BaseSettings]) -> PydanticBaseSettingsSource:
    """The environment, `.env` and the JSON files, in one."""
    return InitSettingsSource(settings, {name: found.value for name, found in find_outside(settings).items()})


def find_outside(settings: type[BaseSettings]) -> dict[str, Found]:
    """What was found outside the code; a setting that is never dumped is not looked for there."""
    fields = settings.model_fields
    return find((name for name, field in fields.items() if not field.exclude), secret_names(fields))


def hide(given: dict[str, Any], settings: type[BaseSettings]) -> None:
    """Hide the secrets among the arguments of the call, in that dict itself."""
    for name in secret_names(settings.model_fields) & given.keys():
        if not is_blank(given[name]):
            given[name] = conceal(given[name])
