"""Mistakes as users make them, and the sentence that each is told."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest
from pydantic import SecretStr

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import MessagingSettings, load
from tests.settings.conftest import Place

CANARY = "hunter2-canary"


def refusal(**overrides: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(**overrides)
    return str(caught.value)


VARIABLES = [
    (
        {"KAFKA_BOOTSTRAP_SERVERS": "kafka"},
        "bootstrap_servers takes host:port, for instance kafka:9092, not 'kafka' "
        "(set by KAFKA_BOOTSTRAP_SERVERS)",
    ),
    (
        {"KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092;kafka-2:9092"},
        "bootstrap_servers takes host:port, several with commas between, as in kafka-1:9092,kafka-2:9092, "
        "not 'kafka-1:9092;kafka-2:9092' (set by KAFKA_BOOTSTRAP_SERVERS)",
    ),
    (
        {"KAFKA_BOOTSTRAP_SERVERS": "PLAINTEXT://kafka:9092"},
        "bootstrap_servers takes host:port without a scheme, not 'PLAINTEXT://kafka:9092': security_protocol "
        "says the rest (set by KAFKA_BOOTSTRAP_SERVERS)",
    ),
    (
        {"KAFKA_BOOTSTRAP_SERVERS": "kafka:90922"},
        "bootstrap_servers takes ports from 1 to 65535, not 'kafka:90922' (set by KAFKA_BOOTSTRAP_SERVERS)",
    ),
    (
        {"KAFKA_BOOTSTRAP_SERVERS": " , "},
        "bootstrap_servers names no broker: write host:port, for instance kafka:9092 "
        "(set by KAFKA_BOOTSTRAP_SERVERS)",
    ),
    (
        {"KAFKA_BOOTSTRAP_SERVERS": "memory://,kafka:9092"},
        "bootstrap_servers takes memory:// or memory://name alone; a name has letters, digits, dots, dashes, "
        "underscores (set by KAFKA_BOOTSTRAP_SERVERS)",
    ),
    (
        {"KAFKA_SECURITY_PROTOCOL": "TLS"},
        "security_protocol takes one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL, not 'TLS' "
        "(set by KAFKA_SECURITY_PROTOCOL)",
    ),
    (
        {"ConvexMessaging__SaslMechanism": "Gssapi"},
        "sasl_mechanism takes one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, not 'Gssapi' "
        "(set by ConvexMessaging__SaslMechanism)",
    ),
    (
        {"KAFKA_AUTO_OFFSET_RESET": "beginning"},
        "auto_offset_reset takes one of earliest, latest, not 'beginning' (set by KAFKA_AUTO_OFFSET_RESET)",
    ),
    (
        {"KAFKA_ENABLE_AUTO_COMMIT": "sometimes"},
        "enable_auto_commit takes true or false, not 'sometimes' (set by KAFKA_ENABLE_AUTO_COMMIT)",
    ),
    (
        {"kafka_concurrency": "many"},
        "concurrency takes a whole number of 1 or more, not 'many' (set by kafka_concurrency)",
    ),
    (
        {"KAFKA_MAX_RETRY_ATTEMPTS": "0"},
        "max_retry_attempts takes a whole number of 1 or more, not '0' (set by KAFKA_MAX_RETRY_ATTEMPTS)",
    ),
    (
        {"KAFKA_SESSION_TIMEOUT_MS": "30"},
        "session_timeout_ms takes a whole number from 6000 to 1800000, not '30' "
        "(set by KAFKA_SESSION_TIMEOUT_MS)",
    ),
    (
        {"KAFKA_PUBLISH_TIMEOUT_SECONDS": "10s"},
        "publish_timeout_seconds takes a number of more than 0, not '10s' "
        "(set by KAFKA_PUBLISH_TIMEOUT_SECONDS)",
    ),
    (
        {"KAFKA_REVOKE_DRAIN_SECONDS": "1e300"},
        "revoke_drain_seconds takes a number from 0 to 1800, not '1e300' (set by KAFKA_REVOKE_DRAIN_SECONDS)",
    ),
    (
        {"KAFKA_DRAIN_TIMEOUT_SECONDS": "30"},
        "drain_timeout_seconds (30) must be less than shutdown_timeout_seconds (25): after the drain, "
        "offsets are committed and the producer is flushed; 5 seconds between them is a good choice "
        "(drain_timeout_seconds is set by KAFKA_DRAIN_TIMEOUT_SECONDS, "
        "shutdown_timeout_seconds is the default)",
    ),
    (
        {"KAFKA_TOPIC_PREFIX": "convex."},
        "topic_prefix takes no dot at its ends, not 'convex.': a dot is put between prefix and topic "
        "(set by KAFKA_TOPIC_PREFIX)",
    ),
    (
        {"KAFKA_TOPIC_PREFIX": "my bets"},
        "topic_prefix takes up to 200 letters, digits, dots, dashes and underscores, not 'my bets' "
        "(set by KAFKA_TOPIC_PREFIX)",
    ),
    (
        {"KAFKA_QUEUE_GROUP": "{prefix}-{topic}"},
        "queue_group takes {prefix} and {queue} and no other braces, not '{prefix}-{topic}' "
        "(set by KAFKA_QUEUE_GROUP)",
    ),
    (
        {"KAFKA_SECURITY_PROTOCOL": "SaslSsl"},
        "security_protocol SASL_SSL with sasl_mechanism PLAIN needs sasl_username and sasl_password: set "
        "them, or choose a security_protocol without SASL (security_protocol is set by "
        "KAFKA_SECURITY_PROTOCOL, sasl_mechanism is the default)",
    ),
    (
        {"KAFKA_SECURITY_PROTOCOL": "SaslSsl", "KAFKA_SASL_USERNAME": "bets"},
        "security_protocol SASL_SSL with sasl_mechanism PLAIN needs sasl_password: set it, "
        "or choose a security_protocol without SASL (security_protocol is set by KAFKA_SECURITY_PROTOCOL, "
        "sasl_mechanism is the default)",
    ),
    (
        {"KAFKA_SECURITY_PROTOCOL": "SaslSsl", "KAFKA_SASL_MECHANISM": "OAuthBearer"},
        "security_protocol SASL_SSL with sasl_mechanism OAUTHBEARER needs a token: give one in code, as in "
        "MessagingSettings(oauth_token_provider=get_token) with `async def get_token() -> str` "
        "(security_protocol is set by KAFKA_SECURITY_PROTOCOL, "
        "sasl_mechanism is set by KAFKA_SASL_MECHANISM)",
    ),
    (
        {
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092,kafka:9092",
            "KAFKA_SASL_USERNAME": "bets",
            "KAFKA_SASL_PASSWORD": CANARY,
        },
        "security_protocol SASL_PLAINTEXT would send credentials unencrypted to kafka:9092: choose SASL_SSL, "
        "or set allow_plaintext_credentials to true if the network may see them "
        "(security_protocol is set by KAFKA_SECURITY_PROTOCOL, "
        "bootstrap_servers is set by KAFKA_BOOTSTRAP_SERVERS)",
    ),
    (
        {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTIFICATE_LOCATION": "client.pem"},
        "ssl_certificate_location needs ssl_key_location beside it: the file with the private key, which may "
        "be the same file (set by KAFKA_SSL_CERTIFICATE_LOCATION)",
    ),
    (
        {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEY_LOCATION": "client.key"},
        "ssl_key_location needs ssl_certificate_location beside it: the client's certificate "
        "(set by KAFKA_SSL_KEY_LOCATION)",
    ),
]


@pytest.mark.parametrize(("variables", "sentence"), VARIABLES, ids=[next(iter(v)) for v, _ in VARIABLES])
def test_a_mistake_in_a_variable_gets_one_clear_sentence(
    variables: dict[str, str], sentence: str, place: Place
) -> None:
    place.variables(**variables)

    assert refusal() == sentence


@pytest.mark.parametrize("between", [";", " ", "; ", "  ", "\t", "\n", "|", " | ", "/"])
@pytest.mark.parametrize(
    ("servers", "cure"),
    [
        (["a:9092", "b:9093"], "a:9092,b:9093"),
        (["a", "b:1", "c.example"], "a:9092,b:1,c.example:9092"),
    ],
)
def test_servers_with_something_else_than_commas_between_are_told_with_commas(
    between: str, servers: list[str], cure: str
) -> None:
    told = refusal(bootstrap_servers=between.join(servers))

    assert told.startswith(
        f"bootstrap_servers takes host:port, several with commas between, as in {cure}, not"
    )
    assert load(bootstrap_servers=cure).bootstrap_servers == cure


CODE: list[tuple[dict[str, Any], str | None]] = [
    (
        {"consumer_grp": "bets"},
        "there is no setting 'consumer_grp'; did you mean 'consumer_group'?",
    ),
    ({"colour": "red"}, "there is no setting 'colour'"),
    (
        {"oauth_token_provider": "token"},
        "oauth_token_provider takes an async function without parameters that answers a token, not 'token' "
        "(given in code)",
    ),
    (
        {"bootstrap_servers": ["kafka:9092", 9093]},
        "bootstrap_servers takes host:port as text, or a list of such texts (given in code)",
    ),
    ({"max_uncommitted": 0}, "max_uncommitted takes a whole number of 1 or more, not 0 (given in code)"),
    ({"consumer_group": ["bets"]}, "consumer_group takes text (given in code)"),
    ({"consumer_group": None}, "consumer_group takes text (given in code)"),
    ({"shutdown_timeout_seconds": float("inf")}, None),
    (
        {"topic_prefix": "x" * 300},
        "topic_prefix takes up to 200 letters, digits, dots, dashes and underscores, "
        f"not '{'x' * 60}' (given in code)",
    ),
    (
        {"sasl_mechanism": "x" * 300},
        "sasl_mechanism takes one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, "
        f"not '{'x' * 59}... (given in code)",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), CODE, ids=[next(iter(g)) for g, _ in CODE])
def test_a_mistake_in_code_gets_one_clear_sentence(given: dict[str, Any], sentence: str | None) -> None:
    told = refusal(**given)

    assert told == (
        sentence or "shutdown_timeout_seconds takes a number of more than 0, not inf (given in code)"
    )


FILES = [
    (
        '{"ConvexMessaging": {"ConsumerGrp": "bets", "bootstrap_servers": "kafka:9092"}}',
        "appsettings.json: ConvexMessaging has no setting 'ConsumerGrp'; did you mean 'ConsumerGroup'?\n"
        "appsettings.json: ConvexMessaging has no setting 'bootstrap_servers'; "
        "did you mean 'BootstrapServers'?",
    ),
    (
        '{"ConvexMessaging": {"Concurrency": "many"}}',
        "concurrency takes a whole number of 1 or more, not 'many' (set by Concurrency in appsettings.json)",
    ),
    (
        '{"ConvexMessaging": {"ConsumerGroup": {"Name": "bets"}}}',
        "consumer_group takes text (set by ConsumerGroup in appsettings.json)",
    ),
    (
        '{"ConvexMessaging": ["kafka:9092"]}',
        "appsettings.json: ConvexMessaging must be an object of settings, as in {...}",
    ),
    ("[]", "appsettings.json must be one JSON object with a section 'ConvexMessaging'"),
    (
        '{\n  "ConvexMessaging": {\n    "SaslPassword": "hunter2-canary" "ConsumerGroup": "bets"\n  }\n}',
        "appsettings.json is not JSON: Expecting ',' delimiter at line 3, column 38",
    ),
    ("", "appsettings.json is not JSON: Expecting value at line 1, column 1"),
    (b'{"ConvexMessaging": "\xff"}', "appsettings.json cannot be read: it is not UTF-8 text"),
]


@pytest.mark.parametrize(("text", "sentence"), FILES, ids=range(len(FILES)))
def test_a_mistake_in_a_file_gets_one_clear_sentence(text: str | bytes, sentence: str, place: Place) -> None:
    place.write("appsettings.json", text)

    assert refusal() == sentence


def test_the_file_of_the_environment_is_named(place: Place) -> None:
    place.variables(APP_ENV="Staging")
    place.appsettings({"Concurrency": 0}, "Staging")

    assert refusal().endswith("not 0 (set by Concurrency in appsettings.Staging.json)")


def test_a_directory_in_place_of_a_file_is_named(place: Place) -> None:
    (place.directory / "appsettings.json").mkdir()

    assert refusal() == "appsettings.json cannot be read: Is a directory"


def test_dotenv_is_named(place: Place) -> None:
    place.dotenv(KAFKA_CONCURRENCY="many")

    assert refusal().endswith("(set by KAFKA_CONCURRENCY in .env)")


def test_dotenv_that_is_not_text_is_named(place: Place) -> None:
    place.write(".env", b"KAFKA_CONCURRENCY=\xff")

    assert refusal() == ".env cannot be read: it is not UTF-8 text"


def test_several_mistakes_get_a_line_each(place: Place) -> None:
    place.variables(KAFKA_CONCURRENCY="0", KAFKA_BOOTSTRAP_SERVERS="kafka")

    assert refusal(max_retry_attempts=0, sasl_pasword="x") == (
        "4 settings are wrong:\n"
        "  - bootstrap_servers takes host:port, for instance kafka:9092, not 'kafka' "
        "(set by KAFKA_BOOTSTRAP_SERVERS)\n"
        "  - max_retry_attempts takes a whole number of 1 or more, not 0 (given in code)\n"
        "  - concurrency takes a whole number of 1 or more, not '0' (set by KAFKA_CONCURRENCY)\n"
        "  - there is no setting 'sasl_pasword'; did you mean 'sasl_password'?"
    )


def test_the_constructor_says_the_same_as_load() -> None:
    with pytest.raises(ConfigurationError, match="concurrency takes a whole number of 1 or more, not 0"):
        MessagingSettings(concurrency=0)


def test_a_password_is_never_shown() -> None:
    settings = load(sasl_password=CANARY, sasl_username="bets", security_protocol="PLAINTEXT")

    shown = [repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())]

    assert not [text for text in shown if CANARY in text]


@pytest.mark.parametrize(
    "mistake",
    [
        {"concurrency": 0},
        {"sasl_pasword": CANARY},
        {"sasl_password": {"text": CANARY}},
        {"sasl_password": [CANARY]},
        {"security_protocol": "SASL_SSL"},
        {"bootstrap_servers": f"bets:{CANARY}@kafka:9092"},
        {"bootstrap_servers": f"bets:{CANARY},x@kafka:9092"},
        {"bootstrap_servers": f"memory://bets:{CANARY}@x"},
    ],
)
def test_no_refusal_repeats_a_password(mistake: dict[str, Any], place: Place) -> None:
    """Neither the sentence, nor anything that a traceback or a log of the error would show."""
    place.appsettings({"SaslPassword": CANARY})

    with pytest.raises(ConfigurationError) as caught:
        load(**mistake)

    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in repr(_everything_behind(caught.value))


def test_a_broken_file_does_not_give_its_password_away(place: Place) -> None:
    place.write("appsettings.json", json.dumps({"ConvexMessaging": {"SaslPassword": CANARY}})[:-1])

    with pytest.raises(ConfigurationError) as caught:
        load()

    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_settings_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen") as caught:
        load().sasl_password = SecretStr(CANARY)

    assert CANARY not in str(caught.value)


def _everything_behind(error: BaseException | None) -> list[BaseException]:
    errors = []
    while error is not None:
        errors.append(error)
        error = error.__cause__ or error.__context__
    return errors
