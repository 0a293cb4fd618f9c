"""The two sources of `MessagingSettings` as pydantic-settings wants them: the call, and all outside it."""

from __future__ import annotations

from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from convex_messaging_fastapi.settings.sources import Found, find, is_blank

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
    return find(name for name, field in settings.model_fields.items() if not field.exclude)
