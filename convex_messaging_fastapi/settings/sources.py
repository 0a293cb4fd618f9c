"""Reads settings outside the code: from variables, `.env`, a folder of secrets, the `appsettings` files.

An empty value counts as not set. The first source that sets a setting wins: `KAFKA_*` variables,
`ConvexMessaging__*` variables, `.env` (both spellings, in the same order), the files of `secrets_dir`,
`appsettings.{ENV}.json`, `appsettings.json`. Settings with an `env_prefix` of their own are read from
variables with that prefix alone: `ConvexMessaging` and `appsettings` are another cluster's.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import Secret, SecretStr
from pydantic_settings import BaseSettings

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings.field_types import (
    conceal,
    did_you_mean,
    is_blank,
    pascal_case,
    secret_names,
)
from convex_messaging_fastapi.settings.fields import PREFIX, SECRET_FILES

HONOURED = ("env_prefix", "env_file", "env_file_encoding", "secrets_dir")
"""The options of pydantic-settings that have an effect here."""

SECTION = "ConvexMessaging"
ENVIRONMENT_NAMES = ("APP_ENV", "DOTNET_ENVIRONMENT", "ASPNETCORE_ENVIRONMENT")


Variables = Mapping[str, str | None]

# An empty prefix in code is a choice: nothing else says that there is none.
_MAY_BE_EMPTY = "topic_prefix"

_USUAL = Path(".env")
"""Read if it exists; nobody is warned if it does not."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value, the name under which it was found, and its file, if any. `repr` does not show the value."""

    value: Any = field(repr=False)
    name: str
    file: str = ""
    shared: bool = False
    """Whether other programs may read that file too, so that names unknown to us may be right in it."""

    @property
    def origin(self) -> str:
        return f"{self.name} in {self.file}" if self.file else self.name


Layer = Mapping[str, Found]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of pydantic-settings that say where to look."""

    prefix: str
    env_files: tuple[Path, ...]
    encoding: str
    secrets_dirs: tuple[Path, ...]

    @classmethod
    def of(cls, settings: type[BaseSettings], given: Mapping[str, Any]) -> Options:
        """`_env_prefix` in a call wins over `env_prefix` of the class, and so on."""
        chosen: dict[str, Any] = {}
        for option in HONOURED:
            called = given.get(f"_{option}")
            # `_env_file=None` is a choice, no file; for the others `None` means "not given".
            counts = called is not None or (option == "env_file" and "_env_file" in given)
            chosen[option] = called if counts else settings.model_config.get(option)
        return cls(
            chosen["env_prefix"],
            _paths(chosen["env_file"]),
            # A byte order mark at the beginning of a file is not part of the first name.
            chosen["env_file_encoding"] or "utf-8-sig",
            _paths(chosen["secrets_dir"]),
        )

    @property
    def are_ours(self) -> bool:
        """Whether the prefix is `KAFKA_`."""
        return self.prefix.upper() == PREFIX

    def variables(self, settings: Iterable[str]) -> list[dict[str, str]]:
        """The names that variables may have, and the setting of each; the first spelling wins."""
        names = tuple(settings)
        kafka = {f"{self.prefix}{name}".upper(): name for name in names}
        return [kafka, {f"{SECTION}__{pascal_case(name)}": name for name in names}][: 1 + self.are_ours]


def _paths(given: str | Path | Sequence[str | Path] | None) -> tuple[Path, ...]:
    """The one that wins comes first. Of several, pydantic-settings lets the last one win."""
    several = [given] if isinstance(given, str | os.PathLike) else given or ()
    return tuple(Path(path).expanduser() for path in reversed(several))


@dataclass(frozen=True, slots=True)
class Place:
    """Variables of one place: the environment, a file, or a folder with a file for each."""

    variables: Variables = field(repr=False)
    file: str = ""
    unread: tuple[str, ...] = ()
    """Files of such a folder that belong to no setting."""

    def names(self) -> list[Found]:
        """The names that are set there, without the values."""
        names = [name for name, value in self.variables.items() if not is_blank(value)]
        return [Found(None, name, self.file) for name in [*names, *self.unread]]


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that settings are made of, with its secrets hidden.

    Values that are `given` in code win over those `found` outside.
    """

    options: Options
    given: Mapping[str, Any]
    found: Mapping[str, Found]
    variables: Sequence[Found]
    """Every variable that is set, whether or not it belongs to a setting."""
    missing: Sequence[str]
    """Files and folders that were chosen and do not exist."""
    handed: Mapping[str, str] | None = None
    """For settings within another model: the variables from which that model has what it gives them."""

    @property
    def values(self) -> dict[str, Any]:
        return {name: found.value for name, found in self.found.items()} | dict(self.given)

    def origin(self, setting: str) -> str:
        """Where the value of a setting comes from, as part of a sentence."""
        if setting in self.given:
            variable = (self.handed or {}).get(setting)
            return f"set by {variable}" if variable else "given in code"
        return f"set by {self.found[setting].origin}" if setting in self.found else "the default"


def read(settings: type[BaseSettings], given: Mapping[str, Any], *, within: bool) -> Reading:
    """The values that were `given`, and those found outside. Settings "in code only" are not looked for.

    `within`: another model makes these settings, so what is given may come from variables of that model.
    Raises `ConfigurationError` for a file that cannot be read, and for one that sets an unknown setting.
    """
    options, fields = Options.of(settings, given), settings.model_fields
    names = tuple(name for name, field in fields.items() if not field.exclude)
    secrets = secret_names(fields)
    places = list(_places(options, names))
    winners: dict[str, Found] = {}
    in_code = {name: value for name, value in given.items() if _is_given(name, value)}
    taken = _with_others({name for name in in_code if in_code[name] is not None}) | in_code.keys()
    for layer in _layers(options, names, places):
        for name, found in layer.items():
            if name not in taken:
                winners[name] = _hidden(found) if name in secrets else found
        taken |= _with_others(layer)
    variables = [name for place in places for name in place.names()]
    handed = _handed_on(in_code, places) if within else None
    return Reading(options, in_code, winners, variables, _missing(options), handed)


def _with_others(names: Iterable[str]) -> set[str]:
    """`names`, with each secret the setting of its file, and with each such setting its secret."""
    pairs = [*SECRET_FILES.items(), *((file, secret) for secret, file in SECRET_FILES.items())]
    others = {other for name, other in pairs if name in names}
    return {*names, *others}


def read_secret(setting: str, path: str) -> SecretStr:
    """The secret in the file at `path`, which `setting` names, without blanks around it.

    Raises `OSError` that names the setting. It names the file too, unless that may be the secret itself.
    """
    secret, wrong = _secret_in(path)
    if not wrong:
        return secret
    folder = Path(path).parent
    if os.path.lexists(path) or Path(path).is_absolute() or (folder != Path() and folder.is_dir()):
        raise OSError(f"{setting} is {path}: {wrong}")
    raise OSError(f"{setting} names no file that is there, and is not repeated: it may be the secret itself")


def _secret_in(path: str) -> tuple[SecretStr, str]:
    """The secret, or why there is none. Raises nothing: an error of decoding would hold what was read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return SecretStr(""), "it is no ordinary file"
        secret = SecretStr(Path(path).read_text(encoding="utf-8-sig").strip())
    except (OSError, ValueError) as error:
        return SecretStr(""), _reason(error)
    return secret, "" if secret else "it is empty"


def hide(given: dict[str, Any], settings: type[BaseSettings]) -> None:
    """Replace the secrets among the arguments of the call by hidden ones, in place."""
    for name in secret_names(settings.model_fields) & given.keys():
        if not is_blank(given[name]):
            given[name] = conceal(given[name])


def _hidden(found: Found) -> Found:
    # At once, because programs that report errors show what local variables hold.
    return replace(found, value=conceal(found.value))


def _is_given(name: str, value: object) -> bool:
    """An empty text is not a value; `None` is one, and removes what is set outside. Options do not count."""
    if name.startswith("_"):
        return False
    return value is None or name == _MAY_BE_EMPTY or not is_blank(value)


def _places(options: Options, names: Iterable[str]) -> Iterator[Place]:
    yield Place(dict(os.environ))
    for path in options.env_files:
        yield Place(_read_dotenv(path, options.encoding), str(path))
    wanted = {variable.lower() for spelling in options.variables(names) for variable in spelling}
    for folder in options.secrets_dirs:
        yield _read_folder(folder, wanted)


def _missing(options: Options) -> list[str]:
    """What was chosen and does not exist. Of several `.env` files one is enough."""
    chosen = [path for path in options.env_files if path != _USUAL]
    files = [] if any(path.exists() for path in options.env_files) else chosen
    folders = [path for path in options.secrets_dirs if not path.exists()]
    return [f"env_file {path}" for path in files] + [f"secrets_dir {path}" for path in folders]


def _handed_on(given: Mapping[str, Any], places: Iterable[Place]) -> dict[str, str]:
    """The variables from which another model has the values that it gives, such as `APP_KAFKA__TOPIC_PREFIX`.

    That model's names are not known here. A variable is taken for the source if its name ends in the
    setting's and it has the same value, or if it is a JSON object that holds both.
    """
    origins: dict[str, str] = {}
    for place in places:
        for variable, text in sorted(place.variables.items()):
            for name in given.keys() - origins.keys():
                if _holds(variable, text, name, given[name]):
                    origins[name] = Found(None, variable, place.file).origin
    return origins


def _holds(variable: str, text: str | None, name: str, value: Any) -> bool:
    shown = value.get_secret_value() if isinstance(value, Secret | SecretStr) else value
    before = variable[: -len(name)]
    if variable.lower().endswith(name) and before and not before[-1].isalnum():
        return text is not None and text.strip() == str(shown).strip()
    if not (text and text.lstrip().startswith("{")):
        return False
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return False  # it belongs to another program, which knows how to read it
    return any(key.lower() == name and member == shown for key, member in members.items())


def _layers(options: Options, names: Iterable[str], places: Sequence[Place]) -> Iterator[Layer]:
    for place in places:
        for spelling in options.variables(names):
            yield _from_variables(spelling, place)
    if options.are_ours:
        for path in _json_files(*(place.variables for place in places)):
            yield _from_file({pascal_case(name): name for name in names}, path)


def _from_variables(settings: Mapping[str, str], place: Place) -> Layer:
    wanted = {variable.lower(): name for variable, name in settings.items()}
    layer = {}
    # Of two names that differ only in case, the one in capitals wins: it sorts first, so it is set last.
    for given in sorted(place.variables, reverse=True):
        if given.lower() in wanted and not is_blank(place.variables[given]):
            layer[wanted[given.lower()]] = Found(place.variables[given], given, place.file)
    return layer


def _from_file(settings: Mapping[str, str], path: Path) -> Layer:
    layer, wrong = _from_document(settings, _read_json(path), path)
    if not wrong:
        return layer
    del layer  # so that no local variable holds secrets of the file when the error is raised
    raise ConfigurationError("\n".join(wrong))


def _from_document(settings: Mapping[str, str], document: Any, path: Path) -> tuple[Layer, list[str]]:
    """The settings in the file, and what is wrong with it."""
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
    """The name as given, unless it does not look like one: then it may be a password in the wrong place."""
    return repr(key) if _NAME.fullmatch(key) else f"of that name ({len(key)} characters, not repeated)"


_NAME = re.compile(r"[A-Za-z_]{1,60}")


def _json_files(*places: Variables) -> list[Path]:
    stated = [variables.get(name) for variables in places for name in ENVIRONMENT_NAMES]
    environments = [text.strip() for text in stated if text and text.strip()]
    return [*(Path(f"appsettings.{name}.json") for name in environments[:1]), Path("appsettings.json")]


def _read_dotenv(path: Path, encoding: str) -> Variables:
    try:
        # Without interpolation: a password may hold a dollar sign, and braces behind it.
        return dotenv_values(path, encoding=encoding, interpolate=False)
    except (OSError, ValueError, LookupError) as error:
        raise ConfigurationError(f"{path} cannot be read: {_reason(error)}") from None


def _read_folder(folder: Path, wanted: Container[str]) -> Place:
    """A folder of secrets, a file each, as Docker, Kubernetes and systemd mount them."""
    path = folder
    try:
        files = sorted(folder.iterdir()) if folder.exists() else []
        ours = [path for path in files if path.name.lower() in wanted and path.is_file()]
        texts = {(path := file).name: file.read_text(encoding="utf-8-sig") for file in ours}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {_reason(error)}") from None
    return Place(texts, str(folder), tuple(file.name for file in files if file not in ours))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(plain_json(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        told = f"{error.msg} at line {error.lineno}, column {error.colno}"
        # Not `from error`, which holds the whole document, passwords included.
        raise ConfigurationError(f"{path} is not JSON: {told}") from None
    except RecursionError:
        raise ConfigurationError(f"{path} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:  # `ValueError` also for a number too long for Python
        raise ConfigurationError(f"{path} cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not {error.encoding.upper()} text"
    return (isinstance(error, OSError) and error.strerror) or str(error)


_STRING = r'"(?:\\.|[^"\\])*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMA = re.compile(rf"({_STRING})|,(?=\s*[}}\]])", re.DOTALL)


def plain_json(text: str) -> str:
    """`text` without the comments and trailing commas that .NET allows; line numbers stay the same."""
    return _LAST_COMMA.sub(_string_or_blank, _COMMENT.sub(_string_or_blank, text))


def _string_or_blank(match: re.Match[str]) -> str:
    return match[1] or re.sub(r"[^\n]", " ", match[0])
