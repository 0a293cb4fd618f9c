"""The options of pydantic-settings: four say where settings are read from, all others are refused by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

import pytest
from pydantic import ConfigDict, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import MessagingSettings
from tests.settings.conftest import Place
from tests.settings.test_sources import EXAMPLES

HONOURED = {"env_prefix", "env_file", "env_file_encoding", "secrets_dir"}
OTHERS = sorted(set(SettingsConfigDict.__annotations__) - set(ConfigDict.__annotations__) - HONOURED)

Make = Callable[..., MessagingSettings]


def by_arguments(**options: Any) -> MessagingSettings:
    return MessagingSettings(**{f"_{name}": value for name, value in options.items()})


def by_a_subclass(**options: Unpack[SettingsConfigDict]) -> MessagingSettings:
    class AuditSettings(MessagingSettings):
        model_config = SettingsConfigDict(**options)

    return AuditSettings()


def by_arguments_of_a_class(**options: Any) -> MessagingSettings:
    class AuditSettings(MessagingSettings, **options):
        pass

    return AuditSettings()


def by_an_argument_over_a_subclass(**options: Any) -> MessagingSettings:
    class AuditSettings(MessagingSettings):
        model_config = SettingsConfigDict(env_prefix="NOBODYS_", env_file="nowhere.env")

    arguments: dict[str, Any] = {"_env_prefix": "KAFKA_", "_env_file": ".env"}
    return AuditSettings(**(arguments | {f"_{name}": value for name, value in options.items()}))


every_way = pytest.mark.parametrize(
    "make", [by_arguments, by_a_subclass, by_arguments_of_a_class, by_an_argument_over_a_subclass]
)


def told(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


# A prefix of one's own.


@every_way
@pytest.mark.parametrize("prefix", ["AUDIT_KAFKA_", "audit_", "KAFKA_AUDIT_", "X", ""])
def test_a_prefix_is_put_before_every_variable(prefix: str, make: Make, place: Place) -> None:
    place.variables(**{f"{prefix}CONSUMER_GROUP": "audit", f"{prefix}concurrency".lower(): 7})

    made = make(env_prefix=prefix)

    assert (made.consumer_group, made.concurrency) == ("audit", 7)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_setting_is_read_by_such_a_prefix(name: str, place: Place) -> None:
    for value in EXAMPLES[name]:
        place.variables(**({"AUDIT_SECURITY_PROTOCOL": "PLAINTEXT"} | {f"AUDIT_{name}".upper(): value}))
        read = getattr(by_a_subclass(env_prefix="AUDIT_"), name)
        assert (read.get_secret_value() if isinstance(read, SecretStr) else read) == value


@every_way
def test_with_a_prefix_of_ones_own_nothing_of_another_cluster_is_read(make: Make, place: Place) -> None:
    place.variables(
        KAFKA_CONSUMER_GROUP="main",
        KAFKA_CONCURENCY="many",
        ConvexMessaging__TopicPrefix="main",
        ConvexMessaging__Unknown="1",
    )
    place.dotenv(KAFKA_CLIENT_ID="main", ConvexMessaging__QueueGroup="main", AUDIT_MAX_UNCOMMITTED=5)
    place.appsettings({"MaxRetryAttempts": 9, "NoSuchSetting": 1})
    place.appsettings({"MaxRetryAttempts": 9}, "Production")

    made = make(env_prefix="AUDIT_")

    assert made.model_dump(exclude_defaults=True) == {"client_id": "convex-group", "max_uncommitted": 5}


def test_two_clusters_side_by_side(place: Place) -> None:
    place.variables(KAFKA_BOOTSTRAP_SERVERS="main:9092", AUDIT_KAFKA_BOOTSTRAP_SERVERS="audit:9092")

    main, audit = MessagingSettings(), by_arguments(env_prefix="AUDIT_KAFKA_")

    assert (main.bootstrap_servers, audit.bootstrap_servers) == ("main:9092", "audit:9092")


@every_way
@pytest.mark.parametrize("prefix", ["KAFKA_", "kafka_"])
def test_our_own_prefix_is_no_other(prefix: str, make: Make, place: Place) -> None:
    place.variables(ConvexMessaging__ConsumerGroup="bets")
    place.appsettings({"Concurrency": 7})

    made = make(env_prefix=prefix)

    assert (made.consumer_group, made.concurrency) == ("bets", 7)


def test_a_mistake_names_the_variable_with_its_prefix(place: Place) -> None:
    place.variables(AUDIT_CONCURRENCY="many")

    with pytest.raises(ConfigurationError, match=r"not 'many' \(set by AUDIT_CONCURRENCY\)"):
        by_arguments(env_prefix="AUDIT_")


# Other files of variables.


@every_way
@pytest.mark.parametrize("as_path", [str, Path])
def test_another_file_is_read_in_place_of_dotenv(
    as_path: Callable[[str], Any], make: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place.dotenv(KAFKA_CONSUMER_GROUP="nobody", KAFKA_CLIENT_ID="nobody")
    place.write(".env.prod", "KAFKA_CONSUMER_GROUP=bets\nConvexMessaging__TopicPrefix=one\nAPP_ENV=Prod\n")
    place.appsettings({"TopicPrefix": "two", "Concurrency": 7}, "Prod")

    made = make(env_file=as_path(".env.prod"))

    assert (made.consumer_group, made.client_id, made.topic_prefix) == ("bets", "bets", "one")
    assert made.concurrency == 7
    assert "settings read from .env.prod: consumer_group, topic_prefix" in told(caplog, logging.INFO)


@every_way
def test_of_several_files_the_last_one_wins(make: Make, place: Place) -> None:
    place.write("base.env", "KAFKA_CONSUMER_GROUP=one\nKAFKA_CONCURRENCY=7\n")
    place.write("prod.env", "ConvexMessaging__ConsumerGroup=two\n")

    made = make(env_file=("base.env", "prod.env", "absent.env"))

    assert (made.consumer_group, made.concurrency) == ("two", 7)


@every_way
def test_no_file_is_a_choice(make: Make, place: Place) -> None:
    place.dotenv(KAFKA_CONSUMER_GROUP="nobody")

    assert make(env_file=None).consumer_group == "convex-group"


@every_way
def test_a_file_that_was_chosen_and_is_not_there_is_told_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        make(env_file=".env.prod", secrets_dir="secrets")

    assert told(caplog) == [
        "the env_file .env.prod does not exist; nothing was read from it",
        "the secrets_dir secrets does not exist; nothing was read from it",
    ]


@every_way
def test_a_file_is_read_in_its_encoding(make: Make, place: Place) -> None:
    place.write(".env", "KAFKA_SASL_USERNAME=Zoë".encode("latin-1"))

    assert make(env_file_encoding="latin-1").sasl_username == "Zoë"


@pytest.mark.parametrize(
    ("encoding", "sentence"),
    [
        ("ascii", ".env cannot be read: it is not ASCII text"),
        ("no-such", ".env cannot be read: unknown encoding: no-such"),
    ],
)
def test_another_encoding_than_the_files_is_told(encoding: str, sentence: str, place: Place) -> None:
    place.write(".env", b"KAFKA_CONSUMER_GROUP=\xff")

    with pytest.raises(ConfigurationError) as caught:
        by_arguments(env_file_encoding=encoding)
    assert str(caught.value) == sentence


# A folder of secrets.


@every_way
@pytest.mark.parametrize(
    "name", ["kafka_sasl_password", "KAFKA_SASL_PASSWORD", "ConvexMessaging__SaslPassword"]
)
def test_a_folder_of_secrets_holds_a_file_for_a_setting(name: str, make: Make, place: Place) -> None:
    files: dict[str, str | bytes] = {
        name: "\ufeffhunter2\n",
        "tls.key": b"\xff",
        "kafka_concurrency": " 7\n",
    }
    place.folder("secrets", **files)
    place.variables(KAFKA_SECURITY_PROTOCOL="PLAINTEXT")

    made = make(secrets_dir=place.directory / "secrets")

    assert (made.sasl_password, made.concurrency) == (SecretStr("hunter2"), 7)


def test_a_folder_of_secrets_stands_between_dotenv_and_the_json_files(place: Place) -> None:
    place.folder("secrets", kafka_concurrency="7", kafka_max_uncommitted="7", kafka_client_id=" \n")
    place.appsettings({"Concurrency": 8, "ClientId": "bets"})
    place.dotenv(KAFKA_MAX_UNCOMMITTED=6)

    made = by_arguments(secrets_dir="secrets")

    assert (made.concurrency, made.max_uncommitted, made.client_id) == (7, 6, "bets")


def test_of_several_folders_the_last_one_wins_and_a_prefix_counts_there_too(place: Place) -> None:
    place.folder("one", audit_concurrency="1", audit_client_id="one", kafka_topic_prefix="main")
    place.folder("two", audit_concurrency="2")

    made = by_arguments(secrets_dir=["one", "two"], env_prefix="AUDIT_")

    assert (made.concurrency, made.client_id, made.topic_prefix) == (2, "one", "convex")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff", "secrets/kafka_sasl_password cannot be read: it is not UTF-8 text"),
        (None, "secrets cannot be read: Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_read_is_told(content: bytes | None, sentence: str, place: Place) -> None:
    if content is None:
        place.write("secrets", b"")
    else:
        place.folder("secrets", kafka_sasl_password=content)

    with pytest.raises(ConfigurationError) as caught:
        by_arguments(secrets_dir="secrets")
    assert str(caught.value) == sentence


def test_a_mistake_in_a_folder_names_file_and_folder(place: Place) -> None:
    place.folder("secrets", kafka_concurrency="many", kafka_sasl_password="hunter2")

    with pytest.raises(ConfigurationError, match=r"\(set by kafka_concurrency in secrets\)") as caught:
        by_arguments(secrets_dir="secrets")
    assert "hunter2" not in str(caught.value)


# All others.


def refusal(make: Make, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make(**options)
    return str(caught.value)


@pytest.mark.parametrize("option", [*OTHERS, "cli_settings_source", "build_sources"])
def test_another_option_in_the_call_is_refused_by_name(option: str) -> None:
    for value in (None, True, "x"):
        assert refusal(by_arguments, **{option: value}) == (
            f"MessagingSettings takes no _{option}: of the options of pydantic-settings it knows "
            "_env_prefix, _env_file, _env_file_encoding and _secrets_dir"
        )


@pytest.mark.parametrize("make", [by_a_subclass, by_arguments_of_a_class])
@pytest.mark.parametrize("option", OTHERS)
def test_another_option_in_the_class_is_refused_by_name(option: str, make: Make) -> None:
    usual = BaseSettings.model_config.get(option)
    assert refusal(make, **{option: not usual}) == (
        f"AuditSettings sets {option} in its model_config, without effect: of the options of "
        "pydantic-settings it knows env_prefix, env_file, env_file_encoding and secrets_dir"
    )


def test_an_option_that_pydantic_settings_has_not_gets_a_did_you_mean() -> None:
    assert refusal(by_arguments, env_flie=".env").endswith("; did you mean '_env_file'?")


def test_several_are_told_in_one_list(place: Place) -> None:
    place.variables(ConvexMessaging__Concurency=1)

    told = refusal(by_arguments, case_sensitive=True, env_ignore_empty=True).splitlines()

    assert told[0] == "3 settings are wrong:"
    assert told[1].startswith("  - MessagingSettings takes no _case_sensitive")
    assert told[2].startswith("  - MessagingSettings takes no _env_ignore_empty")
    assert told[3].startswith("  - ConvexMessaging__Concurency is no setting")


def test_other_options_of_pydantic_are_the_users_own() -> None:
    class AuditSettings(MessagingSettings):
        """With a field beside ours."""

        model_config = SettingsConfigDict(title="audit", env_prefix="AUDIT_")
        region: str = "north"

    assert AuditSettings(region="south").region == "south"


def test_a_subclass_may_add_a_source_of_its_own() -> None:
    class AuditSettings(MessagingSettings):
        @classmethod
        def settings_customise_sources(cls, *of: Any, **sources: Any) -> Any:
            return (*super().settings_customise_sources(*of, **sources), lambda: {"concurrency": 7})

    assert AuditSettings().concurrency == 7
    assert AuditSettings(concurrency=8).concurrency == 8


ANY: Mapping[str, Any] = {"env_prefix": None, "env_file_encoding": None, "secrets_dir": None}


def test_none_is_no_choice(place: Place) -> None:
    place.variables(KAFKA_CONCURRENCY=7)

    assert by_arguments(**ANY).concurrency == 7
