"""What is odd about settings and their sources: refused where it would be dangerous, else told once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from convex_messaging_fastapi.settings.contradictions import Problem
from convex_messaging_fastapi.settings.sources import PREFIX, SECTION, Found, Variables, is_blank
from convex_messaging_fastapi.settings.spellings import pascal_case

if TYPE_CHECKING:
    from convex_messaging_fastapi.settings.model import MessagingSettings

logger = logging.getLogger(__name__)

MOST_LETTERS_WRONG = 2

_PASSWORD = ("sasl_password",)
_CERTIFICATE = ("ssl_certificate_location", "ssl_key_location")
_AUTHORITIES = ("ssl_ca_location",)


def unused(
    settings: MessagingSettings, given: Mapping[str, Any], found: Mapping[str, Found]
) -> list[Problem]:
    """Secrets that the protocol does not use, where nobody chose that protocol: a name may be mistyped."""
    if "security_protocol" in given:
        return []
    return [
        Problem(
            f"{' and '.join(names)} would not be used: no security_protocol is set, and the default is "
            "PLAINTEXT. Set security_protocol to SASL_SSL or SSL, or to PLAINTEXT if that is what you want",
            (names[0],),
        )
        for names in _unused(settings)
        if names is not _AUTHORITIES and not _from_json(names, given, found)
    ]


def remarks(
    settings: MessagingSettings, given: Mapping[str, Any], found: Mapping[str, Found]
) -> Iterator[str]:
    """Those that may be meant so."""
    for names in _unused(settings):
        chosen = "security_protocol" in given or _from_json(names, given, found)
        if names is not _AUTHORITIES or not chosen:
            yield (
                f"{' and '.join(names)} is not used: security_protocol is {settings.security_protocol}. "
                "Leave it away, or choose a security_protocol that uses it"
            )


def _unused(settings: MessagingSettings) -> Iterator[tuple[str, ...]]:
    if settings.is_memory:
        return
    if settings.sasl_password and not settings.uses_sasl:
        yield _PASSWORD
    if not settings.uses_tls:
        yield from (
            names for names in (_CERTIFICATE, _AUTHORITIES) if all(getattr(settings, name) for name in names)
        )


def _from_json(names: Iterable[str], given: Mapping[str, Any], found: Mapping[str, Found]) -> bool:
    """Whether all of these were read from a JSON file, which another program may share with us."""
    return all(
        name in found and found[name].origin.endswith(".json") and found[name].value == given.get(name)
        for name in names
    )


def mistyped(
    names: Iterable[str], places: Iterable[tuple[Variables, str]]
) -> tuple[list[str], list[Problem]]:
    """Variables with a name that is nearly a setting's: those of Kafka's prefix, and those of our section.

    The first may belong to another program; nothing but this package reads the second.
    """
    kafka = {f"{PREFIX}{name}".upper(): name for name in names}
    ours = {f"{SECTION}__{pascal_case(name)}" for name in kafka.values()}
    warnings: list[str] = []
    problems: list[Problem] = []
    for given, place in _names_set(places):
        if given.upper().startswith(PREFIX) and (meant := _nearly(given, kafka)):
            warnings.append(
                f"the variable {given}{place} is no setting and is not read; did you mean {meant}?"
            )
        if given.lower().startswith(f"{SECTION}__".lower()) and (meant := _nearly(given, ours)):
            problems.append(Problem(f"{given}{place} is no setting; did you mean {meant}?", ()))
    return warnings, problems


def _names_set(places: Iterable[tuple[Variables, str]]) -> Iterator[tuple[str, str]]:
    for variables, place in places:
        yield from ((name, place) for name, value in variables.items() if not is_blank(value))


def _nearly(given: str, known: Iterable[str]) -> str | None:
    """The known name that differs in one or two letters; `None` when `given` is known, or like none."""
    lowered = {name.lower(): name for name in known}
    if given.lower() in lowered:
        return None
    near = (
        name for low, name in lowered.items() if _letters_between(given.lower(), low) <= MOST_LETTERS_WRONG
    )
    return next(near, None)


def _letters_between(one: str, other: str) -> int:
    """How many letters must be changed, added or left away to make one of the other."""
    if abs(len(one) - len(other)) > MOST_LETTERS_WRONG:
        return MOST_LETTERS_WRONG + 1
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        above, row[0] = row[0], at
        for column, wanted in enumerate(other, 1):
            changed = above + (letter != wanted)
            above = row[column]
            row[column] = min(changed, above + 1, row[column - 1] + 1)
    return row[-1]


def tell(warnings: Iterable[str], found: Mapping[str, Found]) -> None:
    """Each once in the life of the process, however often settings are made."""
    for file, names in _files(found).items():
        _tell_once(logging.INFO, f"settings read from {file}: {', '.join(names)}")
    for warning in warnings:
        _tell_once(logging.WARNING, warning)


def _files(found: Mapping[str, Found]) -> dict[str, list[str]]:
    """Which settings each file gave; variables of the environment are in none."""
    files: dict[str, list[str]] = {}
    for name, one in sorted(found.items()):
        _, _, file = one.origin.partition(" in ")
        if file:
            files.setdefault(file, []).append(name)
    return files


@lru_cache(maxsize=256)
def _tell_once(level: int, sentence: str) -> None:
    logger.log(level, "%s", sentence)


forget_what_was_told = _tell_once.cache_clear
"""For tests, each of which is a process of its own to itself."""
