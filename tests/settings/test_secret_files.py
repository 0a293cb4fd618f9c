"""A password in a file that a variable names: which of both counts, and what is told where there is none."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import MessagingSettings, load
from convex_messaging_fastapi.settings.field_types import pascal_case
from convex_messaging_fastapi.settings.fields import SECRET_FILES
from convex_messaging_fastapi.settings.sources import read_secret
from tests.settings.conftest import Place

PASSWORD = "hunter2-s3cr3t"
SASL: dict[str, Any] = {
    "security_protocol": "SASL_SSL",
    "sasl_username": "bets",
    "bootstrap_servers": "kafka:9092",
}


def refusal(**given: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(**given)
    return str(caught.value)


def prefixed(place: Place, path: str) -> MessagingSettings:
    place.variables(AUDIT_KAFKA_SASL_PASSWORD_FILE=path)
    return load(_env_prefix="AUDIT_KAFKA_", **SASL)


def by_variable(place: Place, path: str) -> MessagingSettings:
    place.variables(KAFKA_SASL_PASSWORD_FILE=path)
    return load(**SASL)


def by_variable_of_dotnet(place: Place, path: str) -> MessagingSettings:
    place.variables(ConvexMessaging__SaslPasswordFile=path)
    return load(**SASL)


def by_dotenv(place: Place, path: str) -> MessagingSettings:
    place.dotenv(KAFKA_SASL_PASSWORD_FILE=path)
    return load(**SASL)


def by_json(place: Place, path: str) -> MessagingSettings:
    place.appsettings({"SaslPasswordFile": path})
    return load(**SASL)


def in_code(place: Place, path: str) -> MessagingSettings:
    return load(sasl_password_file=path, **SASL)


@pytest.mark.parametrize(
    "make",
    [prefixed, by_variable, by_variable_of_dotnet, by_dotenv, by_json, in_code],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("content", [PASSWORD, f"{PASSWORD}\n", f"\ufeff {PASSWORD}\r\n\r\n"])
def test_a_file_may_hold_the_password(
    content: str, make: Callable[[Place, str], MessagingSettings], place: Place
) -> None:
    place.folder("secrets", sasl_password=content)

    made = make(place, "secrets/sasl_password")

    assert (made.sasl_password, made.sasl_password_file) == (None, "secrets/sasl_password")
    assert read_secret("sasl_password_file", "secrets/sasl_password") == SecretStr(PASSWORD)
    assert PASSWORD not in f"{made!r} {made.model_dump_json()}"


def missing(place: Place) -> str:
    return str(place.directory / "missing")


def empty(place: Place) -> str:
    place.write("empty", " \n")
    return "empty"


def no_text(place: Place) -> str:
    place.write("no_text", PASSWORD.encode() + b"\xff")
    return "no_text"


def folder(place: Place) -> str:
    place.folder("folder")
    return "folder"


def pipe(place: Place) -> str:
    os.mkfifo(place.directory / "pipe")
    return "pipe"


def dangling(place: Place) -> str:
    (place.directory / "dangling").symlink_to("nowhere")
    return "dangling"


def unreadable(place: Place) -> str:
    place.write("unreadable", PASSWORD)
    (place.directory / "unreadable").chmod(0)
    if os.access(place.directory / "unreadable", os.R_OK):
        pytest.skip("whoever runs this may read every file")
    return "unreadable"


NONE = [
    (missing, "No such file or directory"),
    (empty, "it is empty"),
    (no_text, "it is not UTF-8 text"),
    (folder, "it is no ordinary file"),
    (pipe, "it is no ordinary file"),
    (dangling, "No such file or directory"),
    (unreadable, "Permission denied"),
]


@pytest.mark.parametrize(("make", "reason"), NONE, ids=[make.__name__ for make, _ in NONE])
def test_a_file_that_holds_none_is_told_by_name(
    make: Callable[[Place], str], reason: str, place: Place
) -> None:
    path = make(place)
    place.variables(KAFKA_SASL_PASSWORD_FILE=path)

    told = refusal(**SASL)

    assert told == f"sasl_password_file is {path}: {reason} (set by KAFKA_SASL_PASSWORD_FILE)"
    assert PASSWORD not in told


@pytest.mark.parametrize("put", [PASSWORD, f"{PASSWORD}/with+slashes==", "x" * 5000, f"{PASSWORD}\0"])
def test_a_password_in_place_of_the_files_name_is_not_repeated(put: str) -> None:
    told = refusal(sasl_password_file=put, **SASL)

    assert told.startswith("sasl_password_file names no file that is there, and is not repeated")
    assert told.endswith("(given in code)")
    assert put[:20] not in told


@pytest.mark.parametrize(
    "unused",
    [
        {"security_protocol": "PLAINTEXT"},
        {"security_protocol": "SSL"},
        SASL | {"bootstrap_servers": "memory://"},
    ],
)
def test_a_file_that_nothing_uses_is_not_looked_at(unused: dict[str, Any], place: Place) -> None:
    load(**unused, sasl_password_file=missing(place))


async def token() -> str:
    return "token"


def test_nor_is_it_with_a_token(place: Place) -> None:
    bearer = {"sasl_mechanism": "OAUTHBEARER", "oauth_token_provider": token}
    load(**SASL, **bearer, sasl_password_file=missing(place))


def test_without_a_protocol_that_uses_it_it_is_refused_as_a_password_is(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.variables(KAFKA_SASL_PASSWORD_FILE="secrets/sasl_password")

    assert refusal().startswith("sasl_password_file would not be used: no security_protocol is set")
    load(security_protocol="PLAINTEXT")
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told.startswith("sasl_password_file is not used: security_protocol is PLAINTEXT")


# A secret, and a file with one.

Layer = Callable[[Place, str, str], dict[str, Any]]
"""Gives a setting a value; what it answers is to be given in code."""


def outside(put: Callable[[Place, str, str], None]) -> Layer:
    def layer(place: Place, name: str, value: str) -> dict[str, Any]:
        put(place, name, value)
        return {}

    return layer


LAYERS: list[Layer] = [
    lambda place, name, value: {name: value},
    outside(lambda place, name, value: place.variables(**{f"KAFKA_{name.upper()}": value})),
    outside(lambda place, name, value: place.variables(**{f"ConvexMessaging__{pascal_case(name)}": value})),
    outside(lambda place, name, value: place.dotenv(**{f"KAFKA_{name.upper()}": value})),
    outside(lambda place, name, value: place.appsettings({pascal_case(name): value})),
]


@pytest.mark.parametrize("stronger", range(len(LAYERS)))
@pytest.mark.parametrize("secret", SECRET_FILES)
def test_of_both_the_one_of_the_stronger_source_counts(secret: str, stronger: int, place: Place) -> None:
    for weaker in range(stronger + 1, len(LAYERS)):
        for first, second in ((secret, SECRET_FILES[secret]), (SECRET_FILES[secret], secret)):
            with pytest.MonkeyPatch.context() as monkeypatch:
                other = Place(place.directory, monkeypatch)
                other.write(".env", "")
                other.write("appsettings.json", "{}")
                given = LAYERS[weaker](other, second, "weak") | LAYERS[stronger](other, first, "strong")
                made = load(security_protocol="PLAINTEXT", **given)
            assert getattr(made, first) in ("strong", SecretStr("strong"))
            assert getattr(made, second) is None


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("secret", SECRET_FILES)
def test_both_from_one_source_are_refused(secret: str, layer: Any, place: Place) -> None:
    if layer is LAYERS[-1]:
        names = (pascal_case(secret), pascal_case(SECRET_FILES[secret]))
        place.appsettings(dict.fromkeys(names, "x"))
        given: dict[str, Any] = {}
    else:
        given = layer(place, secret, "x") | layer(place, SECRET_FILES[secret], "x")

    told = refusal(security_protocol="PLAINTEXT", **given)

    assert f"{secret} and {SECRET_FILES[secret]} are both set: remove one of them" in told


def test_none_in_code_takes_away_that_one_alone(place: Place) -> None:
    place.variables(KAFKA_SASL_PASSWORD_FILE="a file")

    made = load(security_protocol="PLAINTEXT", sasl_password=None)

    assert made.sasl_password_file == "a file"
    assert load(security_protocol="PLAINTEXT", sasl_password_file=None).sasl_password_file is None
