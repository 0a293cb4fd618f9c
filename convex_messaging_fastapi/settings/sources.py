"""Where settings are found outside the code: the environment, `.env` and the `appsettings` files.

What is empty is not set, wherever it stands. The earlier source wins:
`KAFKA_*` variables, `ConvexMessaging__*` variables, `.env` (both spellings, in the same order),
`appsettings.{ENV}.json`, `appsettings.json`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import Secret, SecretStr
from pydantic_settings import BaseSettings

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings.field_types import did_you_mean, pascal_case, secret_names
from convex_messaging_fastapi.settings.fields import PREFIX

SECTION = "ConvexMessaging"
ENVIRONMENT_NAMES = ("APP_ENV", "DOTNET_ENVIRONMENT", "ASPNETCORE_ENVIRONMENT")


Variables = Mapping[str, str | None]

# An empty prefix in code is a choice; there is no other way to say that there is none.
_MAY_BE_EMPTY = "topic_prefix"


@dataclass(frozen=True, slots=True)
class Found:
    """A value, by what name it was found, and in which file, if in one."""

    value: Any
    name: str
    file: str = ""
    shared: bool = False
    """Whether other programs may read that file, too, and other names than ours be right in it."""

    @property
    def origin(self) -> str:
        return f"{self.name} in {self.file}" if self.file else self.name


Layer = Mapping[str, Found]


@dataclass(frozen=True, slots=True)
class Place:
    """Variables that stand together: the environment's, or a file's."""

    variables: Variables
    file: str = ""

    def names(self) -> list[Found]:
        """What is set there, without its values."""
        return [Found(None, name, self.file) for name, value in self.variables.items() if not is_blank(value)]


@dataclass(frozen=True, slots=True)
class Reading:
    """All that one making of settings has to go by. Secrets are hidden in it.

    What is given in code wins over what was found outside.
    """

    given: Mapping[str, Any]
    found: Mapping[str, Found]
    variables: Sequence[Found]
    """Every variable that is set, a setting's or not."""

    @property
    def values(self) -> dict[str, Any]:
        return {name: found.value for name, found in self.found.items()} | dict(self.given)

    def origin(self, setting: str) -> str:
        """Where its value comes from, in a user's words."""
        if setting in self.given:
            return "given in code"
        return f"set by {self.found[setting].origin}" if setting in self.found else "the default"


def read(settings: type[BaseSettings], given: Mapping[str, Any]) -> Reading:
    """What was `given`, and what is found outside; a setting that is never dumped is not looked for there.

    Raises `ConfigurationError` for a file that cannot be read, or that sets what does not exist.
    """
    fields = settings.model_fields
    names = tuple(name for name, field in fields.items() if not field.exclude)
    secrets = secret_names(fields)
    places = [Place(dict(os.environ)), Place(_read_dotenv(Path(".env")), ".env")]
    winners: dict[str, Found] = {}
    for layer in _layers(names, places):
        for name, found in layer.items():
            winners.setdefault(name, _hidden(found) if name in secrets else found)
    in_code = {name: value for name, value in given.items() if _is_given(name, value)}
    outside = {name: found for name, found in winners.items() if name not in in_code}
    return Reading(in_code, outside, [name for place in places for name in place.names()])


def hide(given: dict[str, Any], settings: type[BaseSettings]) -> None:
    """Hide the secrets among the arguments of the call, in that dict itself."""
    for name in secret_names(settings.model_fields) & given.keys():
        if not is_blank(given[name]):
            given[name] = conceal(given[name])


def _hidden(found: Found) -> Found:
    # At once: programs that report errors show what local variables hold.
    return replace(found, value=conceal(found.value))


def conceal(value: Any) -> Any:
    """A secret that no `repr` shows; what is no text stays wrong, and is hidden as well."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return SecretStr(str(value).strip())
    return value if value is None or isinstance(value, SecretStr) else Secret(value)


def is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_given(name: str, value: object) -> bool:
    """Texts that are empty are not set; `None` takes away what is set outside."""
    return value is None or name == _MAY_BE_EMPTY or not is_blank(value)


def _layers(names: tuple[str, ...], places: Sequence[Place]) -> Iterator[Layer]:
    for place in places:
        yield _from_variables({f"{PREFIX}{name}".upper(): name for name in names}, place)
        yield _from_variables({f"{SECTION}__{pascal_case(name)}": name for name in names}, place)
    for path in _json_files(*(place.variables for place in places)):
        yield _from_file({pascal_case(name): name for name in names}, path)


def _from_variables(settings: Mapping[str, str], place: Place) -> Layer:
    wanted = {variable.lower(): name for variable, name in settings.items()}
    layer = {}
    # Of two names that differ only in case, the one in capitals wins: it sorts first, so goes last.
    for given in sorted(place.variables, reverse=True):
        if given.lower() in wanted and not is_blank(place.variables[given]):
            layer[wanted[given.lower()]] = Found(place.variables[given], given, place.file)
    return layer


def _from_file(settings: Mapping[str, str], path: Path) -> Layer:
    layer, wrong = _from_document(settings, _read_json(path), path)
    if not wrong:
        return layer
    del layer  # no variable may hold what the file says where an error is raised
    raise ConfigurationError("\n".join(wrong))


def _from_document(settings: Mapping[str, str], document: Any, path: Path) -> tuple[Layer, list[str]]:
    """What the file sets, and what is wrong with it."""
    if not isinstance(document, dict):
        return {}, [f"{path} must be one JSON object with a section {SECTION!r}"]
    sections = [value for key, value in document.items() if key.lower() == SECTION.lower()]
    section = sections[-1] if sections else None
    if section is not None and not isinstance(section, dict):
        return {}, [f"{path}: {SECTION} must be an object of settings, as in {{...}}"]
    return _from_section(settings, section or {}, path)


def _from_section(
    settings: Mapping[str, str], section: Mapping[str, Any], path: Path
) -> tuple[Layer, list[str]]:
    wanted = {key.lower(): name for key, name in settings.items()}
    wrong = [
        f"{path}: {SECTION} has no setting {_shown(key)}{did_you_mean(key, settings)}"
        for key in section
        if key.lower() not in wanted
    ]
    layer = {
        wanted[given.lower()]: Found(value, given, str(path), shared=True)
        for given, value in section.items()
        if given.lower() in wanted and not is_blank(value)
    }
    return layer, wrong


def _shown(key: str) -> str:
    """A name as it stands; what looks like none may be a password in the wrong place."""
    return repr(key) if _NAME.fullmatch(key) else f"of that name ({len(key)} characters, not repeated)"


_NAME = re.compile(r"[A-Za-z_]{1,60}")


def _json_files(*places: Variables) -> list[Path]:
    stated = [variables.get(name) for variables in places for name in ENVIRONMENT_NAMES]
    environments = [text.strip() for text in stated if text and text.strip()]
    return [*(Path(f"appsettings.{name}.json") for name in environments[:1]), Path("appsettings.json")]


def _read_dotenv(path: Path) -> Variables:
    try:
        # As it stands: a password may hold a dollar sign, and braces behind it.
        return dotenv_values(path, encoding="utf-8-sig", interpolate=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {_reason(error)}") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(plain_json(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        told = f"{error.msg} at line {error.lineno}, column {error.colno}"
        # Not from the cause: that one carries the whole document, passwords included.
        raise ConfigurationError(f"{path} is not JSON: {told}") from None
    except RecursionError:
        raise ConfigurationError(f"{path} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:  # of a number, too, that is too long for Python
        raise ConfigurationError(f"{path} cannot be read: {_reason(error)}") from None


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return (isinstance(error, OSError) and error.strerror) or str(error)


_STRING = r'"(?:\\.|[^"\\])*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMA = re.compile(rf"({_STRING})|,(?=\s*[}}\]])", re.DOTALL)


def plain_json(text: str) -> str:
    """`text` without the comments and last commas that .NET allows, every line where it was."""
    return _LAST_COMMA.sub(_string_or_blank, _COMMENT.sub(_string_or_blank, text))


def _string_or_blank(match: re.Match[str]) -> str:
    return match[1] or re.sub(r"[^\n]", " ", match[0])
