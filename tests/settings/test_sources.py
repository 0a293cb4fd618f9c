"""Which source wins, setting by setting, and what each source tolerates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import MessagingSettings, load
from convex_messaging_fastapi.settings.field_types import pascal_case
from convex_messaging_fastapi.settings.sources import plain_json
from tests.settings.conftest import Place

EXAMPLES: dict[str, tuple[Any, Any]] = {
    "bootstrap_servers": ("a:1,b:2", "memory://shared"),
    "security_protocol": ("SSL", "PLAINTEXT"),
    "sasl_mechanism": ("SCRAM-SHA-256", "OAUTHBEARER"),
    "sasl_username": ("alice", "bob"),
    "sasl_password": ("secret one", "secret two"),
    "ssl_ca_location": ("one.pem", "two.pem"),
    "topic_prefix": ("one", "two"),
    "consumer_group": ("one", "two"),
    "auto_offset_reset": ("latest", "earliest"),
    "enable_auto_commit": (False, True),
    "auto_commit_interval_ms": (100, 200),
    "session_timeout_ms": (10_000, 20_000),
    "request_timeout_ms": (10_000, 20_000),
    "max_retry_attempts": (1, 2),
    "retry_delay_seconds": (0.5, 2.0),
    "message_retention_ms": (-1, 1000),
    "group_instance_id": ("pod-1", "pod-2"),
    "client_id": ("one", "two"),
    "partitioner": ("crc32", "murmur2"),
    "queue_group": ("convex-group", "{queue}-workers"),
    "concurrency": (1, 2),
    "max_uncommitted": (1, 2),
    "publish_timeout_seconds": (0.5, 2.0),
    "drain_timeout_seconds": (0.0, 24.5),
    "revoke_drain_seconds": (0.0, 1.5),
    "shutdown_timeout_seconds": (21.0, 22.5),
    "max_buffer_records": (1, 2),
    "max_buffer_bytes": (65_536, 1_000_000),
    "max_message_bytes": (1024, 1_000_000),
    "max_message_items": (1, 1000),
    "max_pending_bytes": (65_536, 1_000_000),
    "error_texts": (False, True),
    "unreadable": ("bury", "hold"),
    "breaker": (True, False),
    "breaker_share": (0.5, 1.0),
    "breaker_of": (3, 1000),
    "breaker_wait_seconds": (0.5, 300.0),
    "dead_letter_topics": ("orders-dlt", "orders-dlt,bets-dlt"),
    "create_topics": (True, False),
    "topic_partitions": (1, 12),
    "replication_factor": (1, 3),
    "ssl_certificate_location": ("one.pem", "two.pem"),
    "ssl_key_location": ("one.key", "two.key"),
    "ssl_key_password": ("phrase one", "phrase two"),
    "sasl_password_file": ("one.txt", "two.txt"),
    "ssl_key_password_file": ("one.txt", "two.txt"),
    "console_secret": ("the first secret", "another secret of the fleet"),
    "allow_plaintext_credentials": (True, False),
}

Put = Callable[[Place, str, Any], None]

SOURCES: dict[str, Put] = {
    "a KAFKA_ variable": lambda place, name, value: place.variables(**{f"KAFKA_{name.upper()}": value}),
    "a ConvexMessaging__ variable": lambda place, name, value: place.variables(
        **{f"ConvexMessaging__{pascal_case(name)}": value}
    ),
    "KAFKA_ in .env": lambda place, name, value: place.dotenv(**{f"KAFKA_{name.upper()}": value}),
    "ConvexMessaging__ in .env": lambda place, name, value: place.dotenv(
        **{f"ConvexMessaging__{pascal_case(name)}": value}
    ),
    "appsettings.Test.json": lambda place, name, value: place.appsettings({pascal_case(name): value}, "Test"),
    "appsettings.json": lambda place, name, value: place.appsettings({pascal_case(name): value}),
}


def test_every_setting_has_examples() -> None:
    assert set(EXAMPLES) == set(MessagingSettings.model_fields) - {"oauth_token_provider"}


def _begin(place: Place, name: str) -> None:
    place.variables(APP_ENV="Test")
    if name.startswith("sasl_password"):  # without a protocol it would be refused: nothing would use it
        place.variables(KAFKA_SECURITY_PROTOCOL="PLAINTEXT")


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_source_beats_all_below_it(name: str, place: Place) -> None:
    """Sources are filled from the lowest up; whatever was put last is what counts."""
    _begin(place, name)
    expected = MessagingSettings.model_fields[name].default
    for source, put, value in _from_the_lowest(name):
        put(place, name, value)
        expected = value
        assert _read(load(), name) == expected, source
    for value in EXAMPLES[name]:
        assert _read(load(**{name: value}), name) == value


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("source", SOURCES)
def test_each_source_alone_beats_the_default(name: str, source: str, place: Place) -> None:
    _begin(place, name)
    for value in EXAMPLES[name]:
        SOURCES[source](place, name, value)
        assert _read(load(), name) == value


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("source", SOURCES)
def test_empty_is_not_set(name: str, source: str, place: Place) -> None:
    place.variables(APP_ENV="Test")
    default = _read(load(), name)
    for empty in ("", "  "):
        SOURCES[source](place, name, empty)
        assert _read(load(), name) == default


def test_an_empty_value_lets_the_next_source_speak(place: Place) -> None:
    place.appsettings({"ConsumerGroup": "bets"})
    place.variables(KAFKA_CONSUMER_GROUP="", ConvexMessaging__ConsumerGroup=" ")

    assert load(consumer_group="").consumer_group == "bets"


def test_null_in_json_is_not_set(place: Place) -> None:
    place.appsettings({"ConsumerGroup": None, "Concurrency": None})

    assert load() == MessagingSettings()


def test_an_empty_prefix_in_code_says_that_there_is_none(place: Place) -> None:
    place.variables(KAFKA_TOPIC_PREFIX="convex")

    assert load(topic_prefix="").topic_prefix == ""


def test_none_in_code_takes_a_value_away(place: Place) -> None:
    place.variables(KAFKA_GROUP_INSTANCE_ID="pod-1")

    assert load(group_instance_id=None).group_instance_id is None


@pytest.mark.parametrize("name", ["kafka_concurrency", "Kafka_Concurrency", "CONVEXMESSAGING__CONCURRENCY"])
def test_the_case_of_a_variable_does_not_matter(name: str, place: Place) -> None:
    place.variables(**{name: 7})

    assert load().concurrency == 7


def test_of_two_variables_that_differ_in_case_the_capitals_win(place: Place) -> None:
    place.variables(kafka_concurrency=7, KAFKA_CONCURRENCY=8)

    assert load().concurrency == 8


def test_the_case_of_names_in_json_does_not_matter(place: Place) -> None:
    place.write("appsettings.json", '{"convexmessaging": {"concurrency": 7}}')

    assert load().concurrency == 7


@pytest.mark.parametrize(
    ("variables", "environment"),
    [
        ({"APP_ENV": "One", "DOTNET_ENVIRONMENT": "Two", "ASPNETCORE_ENVIRONMENT": "Three"}, "One"),
        ({"DOTNET_ENVIRONMENT": "Two", "ASPNETCORE_ENVIRONMENT": "Three"}, "Two"),
        ({"APP_ENV": "", "ASPNETCORE_ENVIRONMENT": "Three"}, "Three"),
    ],
)
def test_the_environment_chooses_the_json_file(
    variables: dict[str, str], environment: str, place: Place
) -> None:
    for name in ("One", "Two", "Three"):
        place.appsettings({"ConsumerGroup": name}, name)
    place.variables(**variables)

    assert load().consumer_group == environment


def test_the_environment_may_be_named_in_dotenv(place: Place) -> None:
    place.appsettings({"ConsumerGroup": "bets"}, "Development")
    place.dotenv(APP_ENV="Development")

    assert load().consumer_group == "bets"


def test_an_environment_file_overrides_only_what_it_names(place: Place) -> None:
    place.appsettings({"ConsumerGroup": "bets", "Concurrency": 7})
    place.appsettings({"Concurrency": 8}, "Staging")
    place.variables(APP_ENV="Staging")

    settings = load()

    assert (settings.consumer_group, settings.concurrency) == ("bets", 8)


def test_an_environment_without_a_file_is_no_mistake(place: Place) -> None:
    place.variables(APP_ENV="Nowhere")

    assert load() == MessagingSettings()


def test_what_kubernetes_injects_for_a_service_called_kafka_does_no_harm(place: Place) -> None:
    place.variables(
        KAFKA_PORT="tcp://10.0.0.1:9092",
        KAFKA_PORT_9092_TCP="tcp://10.0.0.1:9092",
        KAFKA_PORT_9092_TCP_ADDR="10.0.0.1",
        KAFKA_SERVICE_HOST="10.0.0.1",
        KAFKA_SERVICE_PORT="9092",
        KAFKA_OPTS="-Xmx1g",
        KAFKA_HOME="/opt/kafka",
        KAFKA_OAUTH_TOKEN_PROVIDER="tcp://",
    )
    place.dotenv(KAFKA_PORT="tcp://10.0.0.1:9092", KAFKA_LOG_DIRS="/logs")

    assert load() == MessagingSettings()
    injected = ("port", "host", "opts", "home", "service")
    assert not [n for n in MessagingSettings.model_fields if n.startswith(injected) or n.endswith(injected)]


def test_the_token_provider_can_only_be_given_in_code(place: Place) -> None:
    async def token() -> str:
        return "t"

    assert load(oauth_token_provider=token).oauth_token_provider is token
    place.appsettings({"OauthTokenProvider": "x"})
    with pytest.raises(ConfigurationError, match="no setting 'OauthTokenProvider'"):
        load()


def test_dotenv_may_begin_with_a_byte_order_mark_and_hold_quotes(place: Place) -> None:
    place.write(".env", "\ufeffexport KAFKA_CONSUMER_GROUP=\"bets\" # ours\nKAFKA_SASL_PASSWORD='a b#c'\n")
    place.variables(KAFKA_SECURITY_PROTOCOL="PLAINTEXT")

    settings = load()

    assert settings.consumer_group == "bets"
    assert settings.sasl_password == SecretStr("a b#c")


def test_comments_and_last_commas_in_json_are_tolerated(place: Place) -> None:
    place.write(
        "appsettings.json",
        """\ufeff// ours
        {
            "Other": "http://example.org/* not a comment */",
            "ConvexMessaging": { /* a
                comment */
                "ConsumerGroup": "a // \\" /* b", // the end
                "Concurrency": 7, // last
            },
        }""",
    )

    settings = load()

    assert (settings.consumer_group, settings.concurrency) == ('a // " /* b', 7)


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(DOCUMENTS, st.sampled_from([None, 1]))
def testplain_json_stays_as_it_is(document: Any, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=indent)

    assert plain_json(text) == text


@given(st.lists(st.text()), st.text(alphabet='abc"/*,]} '))
def test_comments_and_last_commas_mean_nothing(texts: list[str], comment: str) -> None:
    line, block = f"// {comment}\n", f"/* {comment.replace('*/', '')} */"
    members = "".join(f"{line}{json.dumps(text)}{block},{line}" for text in texts)

    assert json.loads(plain_json(f"{block}[{members}]{line}")) == texts


def _from_the_lowest(name: str) -> Iterator[tuple[str, Put, Any]]:
    """The sources from the weakest up, neighbours never agreeing."""
    examples = EXAMPLES[name]
    for index, (source, put) in enumerate(reversed(SOURCES.items())):
        yield source, put, examples[index % 2]


def _read(settings: MessagingSettings, name: str) -> Any:
    value = getattr(settings, name)
    return value.get_secret_value() if isinstance(value, SecretStr) else value
