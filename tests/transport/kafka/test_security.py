"""Being let in, and learning why not, by a real Kafka with TLS and SASL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic, Problem, Verdict
from convex_messaging_fastapi.transport.kafka.security import Access
from tests.conftest import REQUIRED
from tests.support.cluster import Unavailable
from tests.support.waiting import eventually
from tests.transport.kafka.bench import SECONDS, Bench, records, settings
from tests.transport.kafka.secured import PASSWORD, USER, Secured, secured_cluster


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    started = secured_cluster(tmp_path_factory.mktemp("certificates"))
    try:
        cluster = started.__enter__()
    except Unavailable as reason:
        if REQUIRED:
            pytest.fail(f"REQUIRE_KAFKA=1, but {reason}", pytrace=False)
        pytest.skip(str(reason))
    yield cluster
    started.__exit__(None, None, None)


def _sasl(secured: Secured, listener: str, mechanism: str, **changes: Any) -> dict[str, Any]:
    return {
        "bootstrap": secured.addresses[listener],
        "security_protocol": "SASL_SSL" if listener == "SASLS" else "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_username": USER,
        "sasl_password": PASSWORD,
        "ssl_ca_location": secured.file("ca.crt"),
    } | changes


def _tls(secured: Secured, listener: str, **changes: Any) -> dict[str, Any]:
    return {
        "bootstrap": secured.addresses[listener],
        "security_protocol": "SSL",
        "ssl_ca_location": secured.file("ca.crt"),
    } | changes


def _mutual(secured: Secured) -> dict[str, Any]:
    return {
        "ssl_certificate_location": secured.file("broker.crt"),
        "ssl_key_location": secured.file("broker.key"),
    }


def _let_in(secured: Secured, how: str) -> dict[str, Any]:
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "plain": lambda: _sasl(secured, "SASLP", "PLAIN"),
        "scram-256": lambda: _sasl(secured, "SASLP", "SCRAM-SHA-256"),
        "scram-512 over tls": lambda: _sasl(secured, "SASLS", "SCRAM-SHA-512"),
        "plain over tls": lambda: _sasl(secured, "SASLS", "PLAIN"),
        "tls": lambda: _tls(secured, "TLS"),
        "mutual tls": lambda: _tls(secured, "MTLS", **_mutual(secured)),
    }
    return ways[how]()


@pytest.mark.kafka
@pytest.mark.parametrize(
    "how", ["plain", "scram-256", "scram-512 over tls", "plain over tls", "tls", "mutual tls"]
)
async def test_who_shows_what_is_asked_for_may_write_and_read(
    secured: Secured, how: str, unique: str
) -> None:
    choices = _let_in(secured, how)
    bench = Bench(choices.pop("bootstrap"), real=True)
    await bench.transport(**choices).admin().ensure_topic(NewTopic(unique, partitions=1))
    producer = await bench.producer(**choices)
    sent = await producer.send(TopicPartition(unique, 0), records(b"a"))
    assert sent.verdict is Verdict.WRITTEN
    reader = await bench.reader(unique, group=unique, **choices)
    assert await reader.read(1) == [b"a"]
    await bench.close()


def _kept_out(secured: Secured, why: str) -> dict[str, Any]:
    reasons: dict[str, Callable[[], dict[str, Any]]] = {
        "wrong password": lambda: _sasl(secured, "SASLP", "PLAIN", sasl_password="wrong"),
        "unknown user": lambda: _sasl(secured, "SASLP", "SCRAM-SHA-256", sasl_username="bob"),
        "no sasl on this port": lambda: _sasl(
            secured, "SASLP", "PLAIN", bootstrap=secured.addresses["PLAINTEXT"]
        ),
        "plaintext on a sasl port": lambda: {"bootstrap": secured.addresses["SASLP"]},
        "plaintext on a tls port": lambda: {"bootstrap": secured.addresses["TLS"]},
        "another authority": lambda: _tls(secured, "TLS", ssl_ca_location=secured.file("other.crt")),
        "another host name": lambda: _tls(
            secured, "TLS", bootstrap=secured.addresses["TLS"].replace("localhost", "127.0.0.1")
        ),
        "no client certificate": lambda: _tls(secured, "MTLS"),
        "tls on a plaintext port": lambda: _tls(secured, "TLS", bootstrap=secured.addresses["PLAINTEXT"]),
    }
    return reasons[why]()


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("why", "problem", "sentence"),
    [
        ("wrong password", Problem.AUTHENTICATION_FAILED, "does not accept these credentials"),
        ("unknown user", Problem.AUTHENTICATION_FAILED, "does not accept these credentials"),
        ("no sasl on this port", Problem.AUTHENTICATION_FAILED, "takes no SASL"),
        ("plaintext on a sasl port", Problem.AUTHENTICATION_FAILED, "check security_protocol"),
        ("plaintext on a tls port", Problem.AUTHENTICATION_FAILED, "check security_protocol"),
        ("another authority", Problem.TLS_FAILED, "not trusted"),
        ("another host name", Problem.TLS_FAILED, "not trusted"),
        ("no client certificate", Problem.TLS_FAILED, "TLS"),
        ("tls on a plaintext port", Problem.TLS_FAILED, "does this port speak TLS"),
    ],
)
async def test_who_is_kept_out_learns_why(
    secured: Secured, why: str, problem: Problem, sentence: str
) -> None:
    """The engine says the same of all of them."""
    choices = _kept_out(secured, why)
    bench = Bench(choices.pop("bootstrap"), real=True)
    producer = await bench.producer(**choices)
    await eventually(lambda: producer.contact().problem is not Problem.CONNECTING, SECONDS, "the reason")
    contact = producer.contact()
    assert contact.problem is problem
    assert sentence in contact.detail
    assert "wrong" not in contact.detail.replace("wrong version", "")
    assert PASSWORD not in contact.detail
    await bench.close()


@pytest.mark.kafka
async def test_admin_says_why_it_was_kept_out(secured: Secured, unique: str) -> None:
    choices = _kept_out(secured, "wrong password")
    bench = Bench(choices.pop("bootstrap"), real=True)
    with pytest.raises(TopicUnavailable, match="does not accept these credentials"):
        await bench.transport(**choices).admin().ensure_topic(NewTopic(unique))


async def test_a_certificate_that_cannot_be_read_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    """It is read when it is needed: whoever builds a transport touches no file."""
    bench = Bench("127.0.0.1:1")
    missing = str(tmp_path / "missing.crt")
    producer = await bench.producer(security_protocol="SSL", ssl_ca_location=missing)
    await eventually(lambda: producer.contact().problem is Problem.TLS_FAILED, SECONDS, "the reason")
    assert "cannot be read" in producer.contact().detail
    await bench.close()


async def test_a_token_provider_that_fails_is_a_failed_connection_to_the_engine() -> None:
    """Anything else would end the engine's metadata task for good."""

    async def fail() -> str:
        raise ZeroDivisionError

    access = Access(_bearer(fail))
    with pytest.raises(KafkaConnectionError, match="ZeroDivisionError"):
        await access.credentials["sasl_oauth_token_provider"].token()


async def test_a_token_is_asked_for_whenever_one_is_needed() -> None:
    tokens = iter(["first", "second"])

    async def provide() -> str:
        return next(tokens)

    provider = Access(_bearer(provide)).credentials["sasl_oauth_token_provider"]
    assert [await provider.token(), await provider.token()] == ["first", "second"]


def _bearer(provide: Any) -> Any:
    return settings(
        "127.0.0.1:1",
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="OAUTHBEARER",
        oauth_token_provider=provide,
    )
