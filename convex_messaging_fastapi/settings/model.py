"""`MessagingSettings`: the settings with their sources. None is made while anything is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings.fields import SettingsFields
from convex_messaging_fastapi.settings.problems import (
    contradictions,
    misfits,
    mistyped,
    mixed,
    refused_options,
    report,
    unused,
)
from convex_messaging_fastapi.settings.sources import Reading, hide, read

if TYPE_CHECKING:
    from pydantic_settings.sources import DotenvType, PathType

_within_another_model: ContextVar[bool] = ContextVar("another model makes these settings", default=False)


class MessagingSettings(SettingsFields):
    """Every setting of a bus. Frozen; contradictions are refused when it is made.

    A setting has the value of the first of these that sets it: this call, `KAFKA_*` variables,
    `ConvexMessaging__*` variables, `.env`, `appsettings.{ENV}.json`, `appsettings.json` (both in
    the working directory, section `ConvexMessaging`), the defaults. An empty value counts as not
    set; only `topic_prefix=""` in code means that there is no prefix.

    Four options of pydantic-settings have an effect, as arguments and in the `SettingsConfigDict` of a
    subclass: `_env_prefix` (with one of your own, `KAFKA_*`, `ConvexMessaging__*` and `appsettings` are
    not read), `_env_file`, `_env_file_encoding` and `_secrets_dir` (a folder with a file for each
    setting, read after `.env`). Any other is refused.

    Raises `ConfigurationError` with one line for each thing that is wrong.
    """

    if TYPE_CHECKING:  # to type checkers the fields say what the call takes
        _env_prefix: str | None = None
        _env_file: DotenvType | None = ".env"
        _env_file_encoding: str | None = None
        _secrets_dir: PathType | None = None
    else:

        def __init__(self, **given: Any) -> None:
            # First of all, because programs that report errors show what local variables hold.
            hide(given, type(self))
            reading = read(type(self), given, within=_within_another_model.get())
            warnings, problems = mistyped(type(self).model_fields, reading)
            if refused := refused_options(type(self), given):
                # Before pydantic-settings sees them: it would warn, or read the arguments of the process.
                raise ConfigurationError(report([*refused, *problems], reading))
            try:
                # Our own reading has every value: pydantic-settings would not tell where one came from.
                super().__init__(_env_file=None, **reading.values)
            except ValidationError as error:
                problems += misfits(error.errors(include_url=False), type(self).model_fields)
            else:
                odd, dangerous = unused(self, reading)
                warnings += [*odd, *mixed(reading)]
                problems += [*contradictions(self), *dangerous]
            _tell(warnings, reading)
            if problems:
                raise ConfigurationError(report(problems, reading))

    @model_validator(mode="wrap")
    @classmethod
    def _within_another_model(cls, given: Any, make: ModelWrapValidatorHandler[Self]) -> Self:
        # Runs before `__init__` only where another model, or `model_validate`, makes these settings.
        outer = _within_another_model.set(True)
        try:
            return make(given)
        finally:
            _within_another_model.reset(outer)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def load(**overrides: Any) -> MessagingSettings:
    """The settings of variables and files; `overrides` win over both.

    Overrides may be plain values: a password as text, addresses as a list, words in either spelling.
    Raises `ConfigurationError` with one line for each thing that is wrong.
    """
    return MessagingSettings(**overrides)


def _tell(warnings: Iterable[str], reading: Reading) -> None:
    """Log each sentence once in the life of the process, however often settings are made."""
    files: dict[str, list[str]] = {}
    for name, found in sorted(reading.found.items()):
        if found.file:
            files.setdefault(found.file, []).append(name)
    for file, names in files.items():
        _tell_once(f"settings read from {file}: {', '.join(names)}", is_doubtful=False)
    for missing in reading.missing:
        _tell_once(f"the {missing} does not exist; nothing was read from it", is_doubtful=True)
    for warning in warnings:
        _tell_once(warning, is_doubtful=True)


@lru_cache(maxsize=256)
def _tell_once(sentence: str, *, is_doubtful: bool) -> None:
    reports.settings(sentence, is_doubtful=is_doubtful)


forget_what_was_told: Callable[[], None] = _tell_once.cache_clear
"""For tests: each begins like a new process."""
