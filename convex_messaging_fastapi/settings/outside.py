"""The two sources of `MessagingSettings` as pydantic-settings wants them: the call, and all outside it."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from convex_messaging_fastapi.settings.sources import Found, find, is_blank


def find_outside(settings: type[BaseSettings]) -> dict[str, Found]:
    """What was found outside the code for these settings; those that are never dumped are given in code only."""
    return find(name for name, field in settings.model_fields.items() if not field.exclude)


class GivenInCode(PydanticBaseSettingsSource):
    """The arguments of the call, but for texts that are empty: those are not set."""

    # An empty prefix in code is a choice; there is no other way to say that there is none.
    _MAY_BE_EMPTY = ("topic_prefix",)

    def __init__(self, settings: type[BaseSettings], arguments: PydanticBaseSettingsSource) -> None:
        super().__init__(settings)
        self._arguments = arguments

    def __call__(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in self._arguments().items()
            if value is None or name in self._MAY_BE_EMPTY or not is_blank(value)
        }

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False


class Outside(PydanticBaseSettingsSource):
    """The environment, `.env` and the JSON files, in one."""

    def __call__(self) -> dict[str, Any]:
        return {name: found.value for name, found in find_outside(self.settings_cls).items()}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False
