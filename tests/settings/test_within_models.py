"""Settings as a part of a service's own: where their values came from, and what was not given there."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr, TypeAdapter
from pydantic_settings import BaseSettings, SettingsConfigDict

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import MessagingSettings
from tests.settings.conftest import Place

PASSWORD = "hunter2-s3cr3t"


class AppSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="APP_", env_nested_delimiter="__", env_file=".env", extra="ignore"
    )
    kafka: MessagingSettings = Field(default_factory=MessagingSettings)


class AuditSettings(MessagingSettings):
    model_config = SettingsConfigDict(env_prefix="AUDIT_")


class TwoClusters(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="APP_", env_nested_delimiter="__")
    kafka: MessagingSettings = Field(default_factory=MessagingSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_the_outer_settings_are_given_counts(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.variables(APP_KAFKA__TOPIC_PREFIX="nested", APP_KAFKA__CONCURRENCY=7)
    place.dotenv(APP_KAFKA__CONSUMER_GROUP="bets")

    made = AppSettings().kafka

    assert (made.topic_prefix, made.concurrency, made.consumer_group) == ("nested", 7, "bets")
    assert warnings_in(caplog) == []


def by_variable(place: Place, name: str, value: str) -> None:
    place.variables(**{f"APP_KAFKA__{name.upper()}": value})


def by_dotenv(place: Place, name: str, value: str) -> None:
    place.dotenv(**{f"APP_KAFKA__{name.upper()}": value})


def by_json(place: Place, name: str, value: str) -> None:
    place.variables(APP_KAFKA=f'{{"{name}": "{value}"}}')


WAYS = {
    "APP_KAFKA__{}": by_variable,
    "APP_KAFKA__{} in .env": by_dotenv,
    "APP_KAFKA": by_json,
}
WRONG = [("security_protocol", "TLS"), ("concurrency", "many"), ("bootstrap_servers", "kafka")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_names_the_variable_that_it_came_from(
    name: str, value: str, way: str, place: Place
) -> None:
    place.variables(OTHER=value, OTHER_CONCURRENCY="seven", BROKEN="{")
    WAYS[way](place, name, value)

    with pytest.raises(ConfigurationError) as caught:
        AppSettings()
    assert str(caught.value).startswith(f"{name} takes")
    assert str(caught.value).endswith(f"(set by {way.format(name.upper())})")


@pytest.mark.parametrize("delimiter", [".", "__", "_", "-"])
def test_so_it_does_however_the_outer_settings_spell_it(delimiter: str, place: Place) -> None:
    class Outer(BaseSettings):
        model_config = SettingsConfigDict(env_nested_delimiter=delimiter)
        k: MessagingSettings

    place.variables(**{f"k{delimiter}concurrency": "many"})

    with pytest.raises(ConfigurationError, match=rf"\(set by k{re.escape(delimiter)}concurrency\)"):
        Outer()  # type: ignore[call-arg]


def test_a_contradiction_names_both_sources(place: Place) -> None:
    place.variables(APP_KAFKA__SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_MECHANISM="PLAIN")

    with pytest.raises(ConfigurationError) as caught:
        AppSettings()
    assert str(caught.value).endswith(
        "(security_protocol is set by APP_KAFKA__SECURITY_PROTOCOL, "
        "sasl_mechanism is set by KAFKA_SASL_MECHANISM)"
    )


def test_a_wrong_name_gets_a_did_you_mean(place: Place) -> None:
    place.variables(APP_KAFKA__TOPIC_PREFX="nested")

    with pytest.raises(ConfigurationError, match="no setting 'topic_prefx'; did you mean 'topic_prefix'"):
        AppSettings()


class Holder(BaseModel):
    kafka: MessagingSettings


IN_CODE: list[Callable[[dict[str, Any]], Any]] = [
    lambda given: MessagingSettings(**given),
    lambda given: AppSettings(kafka=given),  # type: ignore[arg-type]
    lambda given: Holder.model_validate({"kafka": given}),
    MessagingSettings.model_validate,
    TypeAdapter(MessagingSettings).validate_python,
]


@pytest.mark.parametrize("make", IN_CODE)
def test_what_no_variable_holds_was_given_in_code(
    make: Callable[[dict[str, Any]], Any], place: Place
) -> None:
    place.variables(OTHER_CONCURRENCY="1")

    with pytest.raises(ConfigurationError, match=r"not 0 \(given in code\)"):
        make({"concurrency": 0})


def test_settings_that_were_made_before_are_taken_as_they_are(place: Place) -> None:
    made = MessagingSettings(security_protocol="PLAINTEXT", sasl_password=SecretStr(PASSWORD))
    place.variables(KAFKA_CONCURRENCY="many")

    assert Holder(kafka=made).kafka is made


# What the outer settings leave out.


def test_what_is_left_out_is_taken_from_our_own_variables_and_told_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.variables(KAFKA_BOOTSTRAP_SERVERS="other:9092", APP_KAFKA__CONSUMER_GROUP="mine")
    place.appsettings({"Concurrency": 7})

    for _ in range(2):
        made = AppSettings().kafka
        assert (made.bootstrap_servers, made.consumer_group, made.concurrency) == ("other:9092", "mine", 7)

    assert warnings_in(caplog) == [
        "settings within another model, which gives consumer_group, take the rest from elsewhere: "
        "bootstrap_servers from KAFKA_BOOTSTRAP_SERVERS, concurrency from Concurrency in "
        "appsettings.json. If that is another cluster's, give it in that model too, or use a subclass with "
        'an env_prefix of its own, as in SettingsConfigDict(env_prefix="AUDIT_KAFKA_")'
    ]


def test_where_the_outer_settings_give_nothing_all_is_ours_and_nothing_is_told(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.variables(KAFKA_BOOTSTRAP_SERVERS="main:9092")

    assert AppSettings().kafka.bootstrap_servers == "main:9092"
    assert warnings_in(caplog) == []


def test_with_a_prefix_of_its_own_a_second_cluster_takes_nothing_of_the_first(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.variables(
        KAFKA_BOOTSTRAP_SERVERS="main:9092",
        KAFKA_CLIENT_ID="main",
        AUDIT_BOOTSTRAP_SERVERS="audit:9092",
        APP_AUDIT__CONSUMER_GROUP="auditors",
    )

    two = TwoClusters()

    assert (two.kafka.bootstrap_servers, two.kafka.client_id) == ("main:9092", "main")
    assert (two.audit.bootstrap_servers, two.audit.client_id) == ("audit:9092", "auditors")
    assert warnings_in(caplog) == []


def test_no_password_is_shown_on_the_way(place: Place) -> None:
    place.variables(
        APP_KAFKA__SASL_PASSWORD=PASSWORD, APP_KAFKA__SECURITY_PROTOCOL="TLS", KAFKA_SSL_KEY_PASSWORD=PASSWORD
    )

    with pytest.raises(ConfigurationError) as caught:
        AppSettings()
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    ours = [
        frame
        for frame, _ in traceback.walk_tb(caught.value.__traceback__)
        if "convex_messaging_fastapi" in frame.f_code.co_filename
        and "settings/model" in frame.f_code.co_filename
    ]
    named = {frame.f_code.co_name for frame in ours if PASSWORD in repr(frame.f_locals)}
    assert named <= {"_within_another_model"}, "what another model hands on is that model's to hide"
