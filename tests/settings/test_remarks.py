"""Secrets that nothing would use, names that are nearly right, files that were read; and no password told."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import MessagingSettings, load
from convex_messaging_fastapi.settings.field_types import pascal_case
from convex_messaging_fastapi.settings.problems import mistyped
from convex_messaging_fastapi.settings.sources import Found, Options, Reading
from tests.settings.conftest import Place

PASSWORD = "hunter2-s3cr3t"
SECRETS: dict[str, dict[str, str]] = {
    "a password": {"sasl_password": PASSWORD},
    "a certificate": {"ssl_certificate_location": "a.pem", "ssl_key_location": "a.key"},
}
FORBIDDEN: dict[str, Callable[[Place, dict[str, str]], None]] = {
    "variables": lambda place, given: place.variables(**{f"KAFKA_{k.upper()}": v for k, v in given.items()}),
    ".env": lambda place, given: place.dotenv(**{f"KAFKA_{k.upper()}": v for k, v in given.items()}),
}


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def as_in_dotnet(given: dict[str, str]) -> dict[str, str]:
    return {"".join(part.capitalize() for part in name.split("_")): value for name, value in given.items()}


@pytest.mark.parametrize("given", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("put", [*FORBIDDEN, "code"])
def test_a_secret_that_nothing_would_use_is_refused_where_no_protocol_is_chosen(
    given: dict[str, str], put: str, place: Place
) -> None:
    in_code = given if put == "code" else {}
    if not in_code:
        FORBIDDEN[put](place, given)
    with pytest.raises(ConfigurationError, match="would not be used: no security_protocol is set"):
        load(**in_code)
    place.variables(KAFKA_SECURITY_PROTCOL="SASL_SSL")  # the mistake that this is about
    with pytest.raises(ConfigurationError, match="would not be used"):
        load(**in_code)


@pytest.mark.parametrize("given", SECRETS.values(), ids=SECRETS)
def test_with_a_chosen_protocol_or_from_a_json_file_it_is_told_once(
    given: dict[str, str], place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.appsettings(as_in_dotnet(given))
    load()
    load()
    (told,) = warnings_in(caplog)
    assert "is not used: security_protocol is PLAINTEXT" in told
    assert PASSWORD not in caplog.text
    caplog.clear()
    load(**given, security_protocol="PLAINTEXT")
    assert warnings_in(caplog) == [], "it was told already"


@pytest.mark.parametrize(
    "given", [{"sasl_mechanism": "PLAIN"}, {"sasl_username": "u"}, {"ssl_ca_location": "ca.pem"}]
)
def test_what_is_no_secret_is_never_refused(given: dict[str, str], place: Place) -> None:
    load(**given)
    FORBIDDEN["variables"](place, given)
    load()


def test_a_bus_in_memory_may_keep_its_password() -> None:
    load(bootstrap_servers="memory://", sasl_password=PASSWORD)


NEARLY = [
    "KAFKA_SECURITY_PROTCOL",
    "KAFKA_BOOTSTRAP_SERVER",
    "kafka_topic_prefx",
    "KAFKA_SASL_PASWORD",
    "KAFKA_CONCURENCY",
    "KAFKA_SASL_USERNAME_FILE",
    "kafka_bootstrap_servers_file",
]


@pytest.mark.parametrize("name", NEARLY)
def test_a_variable_that_is_nearly_a_setting_is_told_once_without_its_value(
    name: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.variables(**{name: PASSWORD})
    load()
    load()
    (told,) = warnings_in(caplog)
    assert f"{name} is no setting" in told
    assert "did you mean KAFKA_" in told
    assert told.rpartition("KAFKA_")[2].rstrip("?").lower() in MessagingSettings.model_fields
    assert PASSWORD not in caplog.text


KUBERNETES = [
    "PORT",
    "SERVICE_HOST",
    "SERVICE_PORT",
    "SERVICE_PORT_CLIENT",
    "PORT_9092_TCP",
    "PORT_9092_TCP_ADDR",
]
"""What it injects behind the name of each service in the namespace."""
SERVICES = ["KAFKA", "KAFKA_CLIENT", "KAFKA_UI", "KAFKA_CONNECT", "KAFKA_BOOTSTRAP", "KAFKA_CONTROLLER"]
OTHERS = [
    *(f"{service}_{injected}" for service in SERVICES for injected in KUBERNETES),
    "KAFKA_HOME",
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_LISTENERS",
    "KAFKA_ADVERTISED_LISTENERS",
    "KAFKA_CFG_NODE_ID",
    "KAFKA_NODE_ID",
    "KAFKA_BROKER_ID",
    "KAFKA_LOG_DIRS",
    "KAFKA",
]


@pytest.mark.parametrize("name", OTHERS)
def test_other_programs_variables_are_no_mistakes(
    name: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.variables(**{name: "tcp://10.0.0.1:9092"})
    place.dotenv(**{name: "tcp://10.0.0.1:9092"})
    assert load() == MessagingSettings()
    assert warnings_in(caplog) == []


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
SETTINGS = sorted(MessagingSettings.model_fields)


@st.composite
def nearly(draw: st.DrawFn, names: Sequence[str], letters: str) -> str:
    """One of `names` with one or two letters changed, added or left away."""
    name = draw(st.sampled_from(names))
    for _ in range(draw(st.integers(1, 2))):
        at, letter = draw(st.integers(0, len(name) - 1)), draw(st.sampled_from(letters))
        kept = draw(st.sampled_from([0, 1]))
        name = name[:at] + draw(st.sampled_from(["", letter])) + name[at + kept :]
    return name


@given(nearly([name.upper() for name in SETTINGS], LETTERS), st.sampled_from(["KAFKA_", "AUDIT_"]))
@example("PARTITIONERS", "KAFKA_")
@hypothesis.settings(deadline=None)
def test_whatever_is_nearly_a_setting_is_told_with_one_that_is(name: str, prefix: str) -> None:
    """None of the names, or one: never silence, never an error."""
    variable = f"{prefix}{name}"
    options = Options(prefix, (), "utf-8", ())
    warnings, problems = mistyped(MessagingSettings.model_fields, reading_of(options, variable))
    assert problems == []
    if name.lower() in SETTINGS:
        assert warnings == []
    else:
        (told,) = warnings
        assert told.startswith(
            f"the variable {variable} is no setting and is not read; did you mean {prefix}"
        )
        assert told.rpartition(prefix)[2].rstrip("?").lower() in SETTINGS


@given(nearly([pascal_case(name) for name in SETTINGS], LETTERS) | st.text(LETTERS, min_size=1))
@hypothesis.settings(deadline=None)
def test_whatever_is_not_quite_of_our_section_is_refused(name: str) -> None:
    options = Options("KAFKA_", (), "utf-8", ())
    reading = reading_of(options, f"ConvexMessaging__{name}")
    warnings, problems = mistyped(MessagingSettings.model_fields, reading)
    assert warnings == []
    known = name.lower() in {pascal_case(known).lower() for known in SETTINGS}
    assert len(problems) == (0 if known else 1)


def reading_of(options: Options, *variables: str) -> Reading:
    return Reading(options, {}, {}, [Found(None, name) for name in variables], [])


IN_OUR_SECTION = [
    (
        "SaslPasword",
        "ConvexMessaging__SaslPasword is no setting; did you mean ConvexMessaging__SaslPassword?",
    ),
    (
        "BootstrapSrv",
        "ConvexMessaging__BootstrapSrv is no setting; did you mean ConvexMessaging__BootstrapServers?",
    ),
    (
        "Sasl__Password",
        "ConvexMessaging__Sasl__Password is no setting; did you mean ConvexMessaging__SaslPassword?",
    ),
    ("Colour", "ConvexMessaging__Colour is no setting"),
]


@pytest.mark.parametrize(("name", "sentence"), IN_OUR_SECTION)
def test_of_our_own_section_every_other_variable_is_refused(name: str, sentence: str, place: Place) -> None:
    place.variables(**{f"ConvexMessaging__{name}": PASSWORD})
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert str(caught.value) == sentence


def test_so_are_those_of_files(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.dotenv(KAFKA_BOOTSTRAP_SERVER="a:1", ConvexMessaging__Colour=1)
    place.folder("secrets", kafka_sasl_pasword=PASSWORD, ConvexMessaging__Concurency="1")
    with pytest.raises(ConfigurationError) as caught:
        load(_secrets_dir="secrets")
    assert str(caught.value).splitlines()[1:] == [
        "  - ConvexMessaging__Colour in .env is no setting",
        "  - ConvexMessaging__Concurency in secrets is no setting; "
        "did you mean ConvexMessaging__Concurrency?",
    ]
    assert warnings_in(caplog) == [
        "the variable KAFKA_BOOTSTRAP_SERVER in .env is no setting and is not read; "
        "did you mean KAFKA_BOOTSTRAP_SERVERS?",
        "the variable kafka_sasl_pasword in secrets is no setting and is not read; "
        "did you mean KAFKA_SASL_PASSWORD?",
    ]


def test_an_empty_variable_of_our_section_is_not_set(place: Place) -> None:
    place.variables(ConvexMessaging__Colour=" ")
    load()


def test_the_files_that_settings_were_read_from_are_told(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place.appsettings({"ConsumerGroup": "bets", "BootstrapServers": "kafka:9092"})
    place.dotenv(KAFKA_CONCURRENCY=3)
    place.variables(KAFKA_TOPIC_PREFIX="bets")
    load()
    load()
    assert [record.getMessage() for record in caplog.records] == [
        "settings read from appsettings.json: bootstrap_servers, consumer_group",
        "settings read from .env: concurrency",
    ]


def test_a_value_in_dotenv_is_taken_as_it_stands(place: Place) -> None:
    place.variables(HOME="/root", KAFKA_SECURITY_PROTOCOL="PLAINTEXT")
    place.dotenv(KAFKA_SASL_PASSWORD="ab${HOME}cd$HOME")
    password = load().sasl_password
    assert password is not None
    assert password.get_secret_value() == "ab${HOME}cd$HOME"


def in_code(_place: Place) -> MessagingSettings:
    given: dict[str, Any] = {"sasl_password": PASSWORD, "concurrency": 0}
    return MessagingSettings(**given)


def by_variable(place: Place) -> MessagingSettings:
    place.variables(KAFKA_SASL_PASSWORD=PASSWORD, KAFKA_SSL_KEY_PASSWORD=PASSWORD)
    return load(concurrency=0)


def by_dotenv(place: Place) -> MessagingSettings:
    place.dotenv(ConvexMessaging__SaslPassword=PASSWORD)
    return load(concurrency=0)


def by_file(place: Place) -> MessagingSettings:
    place.appsettings({"SaslPassword": PASSWORD, "Concurrency": 0})
    return load()


def in_a_list(place: Place) -> MessagingSettings:
    place.appsettings({"SaslPassword": [PASSWORD]})
    return load()


def beside_an_unknown_key(place: Place) -> MessagingSettings:
    place.appsettings({"SaslPassword": PASSWORD, "Concurency": 1})
    return load()


def in_a_variable_beside_a_file_that_is_wrong(place: Place) -> MessagingSettings:
    place.variables(KAFKA_SASL_PASSWORD=PASSWORD)
    place.dotenv(KAFKA_SASL_PASSWORD=PASSWORD)
    return beside_an_unknown_key(place)


def in_a_folder_beside_a_file_that_is_wrong(place: Place) -> MessagingSettings:
    place.folder("secrets", kafka_sasl_password=PASSWORD, kafka_topic_prefix=PASSWORD.encode() + b"\xff")
    return load(_secrets_dir="secrets")


def in_a_file_of_its_own(place: Place) -> MessagingSettings:
    place.write("password", PASSWORD.encode() + b"\xff")
    place.variables(KAFKA_SASL_PASSWORD_FILE="password")
    return load(security_protocol="SASL_SSL", sasl_username="u")


def as_an_unknown_key(place: Place) -> MessagingSettings:
    place.appsettings({PASSWORD: 1})
    return load()


def in_a_section_of_another_shape(place: Place) -> MessagingSettings:
    place.appsettings([PASSWORD])
    return load()


def in_a_file_that_is_no_json(place: Place) -> MessagingSettings:
    place.write("appsettings.json", f'{{"ConvexMessaging": {{"SaslPassword": "{PASSWORD}" x')
    return load()


def as_a_mechanism(_place: Place) -> MessagingSettings:
    return load(sasl_mechanism=PASSWORD)


def as_a_protocol(place: Place) -> MessagingSettings:
    place.variables(KAFKA_SECURITY_PROTOCOL=PASSWORD)
    return load()


def in_an_address(_place: Place) -> MessagingSettings:
    return load(bootstrap_servers=f"sasl://user:{PASSWORD}/kafka:9092")


def in_an_address_without_a_scheme(_place: Place) -> MessagingSettings:
    return load(bootstrap_servers=f"user:{PASSWORD}:9092")


SECRETLY = [
    in_code,
    by_variable,
    by_dotenv,
    by_file,
    in_a_list,
    beside_an_unknown_key,
    in_a_file_that_is_no_json,
    in_a_variable_beside_a_file_that_is_wrong,
    in_a_folder_beside_a_file_that_is_wrong,
    in_a_file_of_its_own,
]
MISPLACED = [as_an_unknown_key, in_a_section_of_another_shape, as_a_mechanism, as_a_protocol, in_an_address]


@pytest.mark.parametrize("make", SECRETLY, ids=lambda make: make.__name__)
def test_no_local_variable_of_a_traceback_shows_a_password(
    make: Callable[[Place], Any], place: Place
) -> None:
    """As programs that report errors show them: every frame below the call, every variable in it."""
    with pytest.raises(ConfigurationError) as caught:
        make(place)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if Path(frame.f_code.co_filename) != Path(__file__)]
    assert ours
    for frame in ours:
        assert PASSWORD not in repr(frame.f_locals), frame.f_code.co_qualname


@pytest.mark.parametrize(
    "make", [*SECRETLY, *MISPLACED, in_an_address_without_a_scheme], ids=lambda make: make.__name__
)
def test_a_password_in_the_wrong_place_is_not_repeated(make: Callable[[Place], Any], place: Place) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(place)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
