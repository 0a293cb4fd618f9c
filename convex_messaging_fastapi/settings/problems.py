"""What is wrong with settings: one list of problems, each a plain sentence that says how to mend it.

A sentence names the setting, its value, where the value came from, and which values it takes. What is odd,
but may be intended, is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args, get_origin

from pydantic import ConfigDict
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from convex_messaging_fastapi.settings.field_types import (
    Fields,
    did_you_mean,
    is_loopback,
    is_secret,
    kind,
    nearest_to,
    pascal_case,
)
from convex_messaging_fastapi.settings.fields import SECRET_FILES, SettingsFields
from convex_messaging_fastapi.settings.sources import HONOURED, SECTION, Reading, read_secret

MOST_LETTERS_WRONG = 2

_OURS = f"{SECTION}__".lower()

_LONGEST_SHOWN = 60
_WORD = re.compile(r"[A-Za-z_ -]+")

_OPTIONS = frozenset(SettingsConfigDict.__annotations__) - frozenset(ConfigDict.__annotations__)

_PASSWORDS = ("sasl_password", "sasl_password_file")
_CERTIFICATE = ("ssl_certificate_location", "ssl_key_location")
_AUTHORITIES = ("ssl_ca_location",)


class Problem(NamedTuple):
    """One thing that is wrong, as a sentence, and the settings that it is about."""

    sentence: str
    settings: tuple[str, ...] = ()


def report(problems: Iterable[Problem], reading: Reading) -> str:
    """One line a problem, each with the places where its values came from."""
    lines = [_with_origins(problem, reading) for problem in problems]
    if len(lines) == 1:
        return lines[0]
    return "\n".join([f"{len(lines)} settings are wrong:", *(f"  - {line}" for line in lines)])


def _with_origins(problem: Problem, reading: Reading) -> str:
    places = {name: reading.origin(name) for name in problem.settings}
    if not places:
        return problem.sentence
    told = places.values() if len(places) == 1 else (f"{name} is {place}" for name, place in places.items())
    return f"{problem.sentence} ({', '.join(told)})"


# Options of pydantic-settings.


def refused_options(settings: type[SettingsFields], given: Iterable[str]) -> list[Problem]:
    """Options of pydantic-settings that would have no effect, given in the call or set in the class."""
    honoured = [f"_{option}" for option in HONOURED]
    called = [name for name in given if name.startswith("_") and name not in honoured]
    configured = [
        option
        for option in sorted(_OPTIONS - {*HONOURED})
        if settings.model_config.get(option) != BaseSettings.model_config.get(option)
    ]
    return [
        *(_refused(f"{settings.__name__} takes no {name}", name, honoured) for name in called),
        *(
            _refused(f"{settings.__name__} sets {name} in its model_config, without effect", name, HONOURED)
            for name in configured
        ),
    ]


def _refused(sentence: str, name: str, honoured: Sequence[str]) -> Problem:
    meant = "" if name.removeprefix("_") in _OPTIONS else did_you_mean(name, honoured)
    return Problem(
        f"{sentence}: of the options of pydantic-settings it knows {', '.join(honoured[:-1])} and "
        f"{honoured[-1]}{meant}"
    )


# Each setting by itself.


def misfits(errors: Iterable[ErrorDetails], fields: Fields) -> list[Problem]:
    """What pydantic refused, one sentence each."""
    # pydantic also reports a default that it did not make because another setting is wrong.
    return [_misfit(error, fields) for error in errors if error["type"] != "default_factory_not_called"]


def _misfit(error: ErrorDetails, fields: Fields) -> Problem:
    name = str(error["loc"][0])
    if name not in fields:
        return Problem(f"there is no setting {name!r}{did_you_mean(name, fields)}")
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ValueError):
        return Problem(f"{name} {cause}", (name,))
    return Problem(f"{name} takes {_taken(fields[name])}{_shown(error['input'], fields[name])}", (name,))


def _taken(field: FieldInfo) -> str:
    held = kind(field)
    if get_origin(held) is Literal:
        return "one of " + ", ".join(get_args(held))
    if get_origin(held) is Callable:
        return "an async function without parameters that answers a token"
    words = {bool: "true or false", int: "a whole number", float: "a number"}
    return words.get(held, "text") + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    """` from 1 to 300`, ` of 1 or more`: the bounds that a setting declares."""
    rules = [(word, rule) for rule in field.metadata for word in ("ge", "gt", "le") if hasattr(rule, word)]
    bounds = {word: _figure(getattr(rule, word)) for word, rule in rules}
    if "le" in bounds:
        return f" from {bounds['ge']} to {bounds['le']}"
    if "ge" in bounds:
        return f" of {bounds['ge']} or more"
    return f" of more than {bounds['gt']}" if "gt" in bounds else ""


def _figure(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _shown(value: object, field: FieldInfo) -> str:
    if is_secret(field) or not isinstance(value, str | int | float):
        return ""
    if get_origin(kind(field)) is Literal and not _WORD.fullmatch(str(value)):
        return ""  # not a word, so it may be a password in the wrong place
    text = repr(value)
    return f", not {text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + '...'}"


# Settings beside each other.


def contradictions(settings: SettingsFields) -> list[Problem]:
    """All of them at once. A bus in memory connects to nobody, so what it says of security is not judged."""
    problems = [*_of_times(settings), *_of_secrets(settings)]
    if settings.uses_sasl and not settings.is_memory:
        problems += [*_of_credentials(settings), *_of_secrecy(settings)]
    if settings.uses_tls and not settings.is_memory:
        problems += _of_certificates(settings)
    return problems


def _of_times(settings: SettingsFields) -> Iterator[Problem]:
    if settings.drain_timeout_seconds >= settings.shutdown_timeout_seconds:
        yield Problem(
            f"drain_timeout_seconds ({settings.drain_timeout_seconds:g}) must be less than "
            f"shutdown_timeout_seconds ({settings.shutdown_timeout_seconds:g}): after the drain, offsets are "
            "committed and the producer is flushed; 5 seconds between them is a good choice",
            ("drain_timeout_seconds", "shutdown_timeout_seconds"),
        )


def _of_secrets(settings: SettingsFields) -> Iterator[Problem]:
    for secret, file in SECRET_FILES.items():
        if getattr(settings, secret) and getattr(settings, file):
            yield Problem(f"{secret} and {file} are both set: remove one of them", (secret, file))


def _of_credentials(settings: SettingsFields) -> Iterator[Problem]:
    chosen = f"security_protocol {settings.security_protocol} with sasl_mechanism {settings.sasl_mechanism}"
    if settings.sasl_mechanism == "OAUTHBEARER":
        if settings.oauth_token_provider is None:
            yield Problem(
                f"{chosen} needs a token: give one in code, as in "
                "MessagingSettings(oauth_token_provider=get_token) with `async def get_token() -> str`",
                ("security_protocol", "sasl_mechanism"),
            )
        return
    password = settings.sasl_password or settings.sasl_password_file
    given = {"sasl_username": settings.sasl_username, "sasl_password": password}
    missing = [name for name, value in given.items() if not value]
    if missing:
        yield Problem(
            f"{chosen} needs {' and '.join(missing)}: set {'it' if len(missing) == 1 else 'them'}, "
            "or choose a security_protocol without SASL",
            ("security_protocol", "sasl_mechanism"),
        )
    if settings.sasl_password_file:
        yield from _of_file("sasl_password_file", settings.sasl_password_file)


def _of_file(setting: str, path: str) -> Iterator[Problem]:
    try:
        read_secret(setting, path)
    except OSError as error:
        yield Problem(str(error), (setting,))


def _of_secrecy(settings: SettingsFields) -> Iterator[Problem]:
    if settings.uses_tls or settings.allow_plaintext_credentials:
        return
    exposed = [address for address in settings.bootstrap_servers.split(",") if not is_loopback(address)]
    if exposed:
        yield Problem(
            f"security_protocol SASL_PLAINTEXT would send credentials unencrypted to {exposed[0]}: choose "
            "SASL_SSL, or set allow_plaintext_credentials to true if the network may see them",
            ("security_protocol", "bootstrap_servers"),
        )


def _of_certificates(settings: SettingsFields) -> Iterator[Problem]:
    certificate, key = settings.ssl_certificate_location, settings.ssl_key_location
    if certificate and not key:
        yield Problem(
            "ssl_certificate_location needs ssl_key_location beside it: the file with the private key, which "
            "may be the same file",
            ("ssl_certificate_location",),
        )
    for phrase in ("ssl_key_password", "ssl_key_password_file"):
        if getattr(settings, phrase) and not key:
            yield Problem(
                f"{phrase} needs ssl_key_location beside it: the file with the key that it opens", (phrase,)
            )
    if key and not certificate:
        yield Problem(
            "ssl_key_location needs ssl_certificate_location beside it: the client's certificate",
            ("ssl_key_location",),
        )


def unused(settings: SettingsFields, reading: Reading) -> tuple[list[str], list[Problem]]:
    """Secrets that the protocol does not use: warnings, and problems.

    It is a problem where the protocol is only the default, since its setting may be missing or mistyped.
    """
    warnings: list[str] = []
    problems: list[Problem] = []
    for names in _unused(settings):
        chosen = "security_protocol" in reading.values or _are_shared(names, reading)
        if not chosen and names is not _AUTHORITIES:
            problems.append(
                Problem(
                    f"{' and '.join(names)} would not be used: no security_protocol is set, and the default "
                    "is PLAINTEXT. Set security_protocol to SASL_SSL or SSL, or to PLAINTEXT if that is what "
                    "you want",
                    (names[0],),
                )
            )
        elif not chosen or names is not _AUTHORITIES:
            warnings.append(
                f"{' and '.join(names)} is not used: security_protocol is {settings.security_protocol}. "
                "Remove it, or choose a security_protocol that uses it"
            )
    return warnings, problems


def _unused(settings: SettingsFields) -> Iterator[tuple[str, ...]]:
    if settings.is_memory:
        return
    if not settings.uses_sasl:
        yield from ((name,) for name in _PASSWORDS if getattr(settings, name))
    if not settings.uses_tls:
        yield from (
            names for names in (_CERTIFICATE, _AUTHORITIES) if all(getattr(settings, name) for name in names)
        )


def _are_shared(names: Iterable[str], reading: Reading) -> bool:
    """Whether all of these were read from a JSON file, which another program may share with us."""
    return all(name in reading.found and reading.found[name].shared for name in names)


def mixed(reading: Reading) -> list[str]:
    """A warning where another model gives some settings, and the rest comes from our variables and files."""
    if reading.handed is None or not reading.found or not reading.options.are_ours:
        return []
    taken = ", ".join(f"{name} from {found.origin}" for name, found in sorted(reading.found.items()))
    return [
        f"settings within another model, which gives {_names(reading.given)}, take the rest from elsewhere: "
        f"{taken}. If that is another cluster's, give it in that model too, or use a subclass with an "
        'env_prefix of its own, as in SettingsConfigDict(env_prefix="AUDIT_KAFKA_")'
    ]


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


# Variables that are named nearly like a setting.


def mistyped(fields: Fields, reading: Reading) -> tuple[list[str], list[Problem]]:
    """Warnings of variables named nearly like a setting, and problems with unknown names in our section.

    Variables that begin with the prefix may belong to another program; nothing but this package reads the
    section.
    """
    prefixed, *sections = reading.options.variables(fields)
    warnings: list[str] = []
    problems: list[Problem] = []
    for variable in reading.variables:
        name = variable.name
        if name.upper().startswith(reading.options.prefix.upper()) and (meant := _nearly(name, prefixed)):
            warnings.append(
                f"the variable {variable.origin} is no setting and is not read; did you mean {meant}?"
            )
        for section in sections:
            if name.lower().startswith(_OURS) and not _is_one_of(name, section):
                nearest = nearest_to(name[len(_OURS) :], section.values())
                meant = f"; did you mean {SECTION}__{pascal_case(nearest)}?" if nearest else ""
                problems.append(Problem(f"{variable.origin} is no setting{meant}"))
    return warnings, problems


def _is_one_of(given: str, known: Iterable[str]) -> bool:
    return given.lower() in {name.lower() for name in known}


def _nearly(given: str, known: Collection[str]) -> str | None:
    """The known name that differs from `given` in one or two letters; `None` for a known or a strange name.

    `KAFKA_SASL_USERNAME_FILE` is like `KAFKA_SASL_USERNAME`: only secrets may stand in files.
    """
    if _is_one_of(given, known):
        return None
    apart = {name: _letters_between(given.lower(), name.lower()) for name in known}
    nearest = min(apart, key=lambda name: apart[name])
    if apart[nearest] <= MOST_LETTERS_WRONG:
        return nearest
    return next((name for name in apart if f"{name}_FILE".lower() == given.lower()), None)


def _letters_between(one: str, other: str) -> int:
    """How many letters must be changed, added or removed to make one word of the other; more than two are
    one too many, however many they are."""
    if abs(len(one) - len(other)) > MOST_LETTERS_WRONG:
        return MOST_LETTERS_WRONG + 1
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        above, row[0] = row[0], at
        for column, wanted in enumerate(other, 1):
            changed = above + (letter != wanted)
            above = row[column]
            row[column] = min(changed, above + 1, row[column - 1] + 1)
        if min(row) > MOST_LETTERS_WRONG:  # what follows can only add to it
            return MOST_LETTERS_WRONG + 1
    return row[-1]
