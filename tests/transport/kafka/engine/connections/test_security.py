"""Being let in, and learning why not, by a real Kafka with TLS and SASL."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError, KafkaError
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import ConfigurationError, TopicUnavailable
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, NewTopic, Problem, Verdict
from convex_messaging_fastapi.transport.kafka.engine.connections.security import Access
from tests.support.required import start_or_skip
from tests.support.waiting import eventually
from tests.transport.kafka.bench import SECONDS, Bench, records, settings
from tests.transport.kafka.secured import PASSWORD, USER, Secured, secured_cluster


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with ExitStack() as ends:
        yield start_or_skip(ends, secured_cluster(tmp_path_factory.mktemp("certificates")))


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


def _bearer_of(secured: Secured, seconds: float) -> dict[str, Any]:
    """With a token that nobody has signed, good for so long."""

    async def provide() -> str:
        now = SystemClock().unix()
        claims = {"sub": USER, "iat": now - 120, "exp": now + seconds}
        return ".".join([_part({"alg": "none"}), _part(claims), ""])

    return {
        "bootstrap": secured.addresses["OAUTH"],
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "OAUTHBEARER",
        "oauth_token_provider": provide,
    }


def _part(claims: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


def _let_in(secured: Secured, how: str) -> dict[str, Any]:
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "plain": lambda: _sasl(secured, "SASLP", "PLAIN"),
        "scram-256": lambda: _sasl(secured, "SASLP", "SCRAM-SHA-256"),
        "scram-512 over tls": lambda: _sasl(secured, "SASLS", "SCRAM-SHA-512"),
        "plain over tls": lambda: _sasl(secured, "SASLS", "PLAIN"),
        "tls": lambda: _tls(secured, "TLS"),
        "mutual tls": lambda: _tls(secured, "MTLS", **_mutual(secured)),
        "bearer token": lambda: _bearer_of(secured, seconds=60),
    }
    return ways[how]()


@pytest.mark.kafka
@pytest.mark.parametrize(
    "how",
    ["plain", "scram-256", "scram-512 over tls", "plain over tls", "tls", "mutual tls", "bearer token"],
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
        "an expired certificate": lambda: _tls(secured, "EXPIRED"),
        "an expired token": lambda: _bearer_of(secured, seconds=-60),
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
        ("an expired certificate", Problem.TLS_FAILED, "expired"),
        ("an expired token", Problem.AUTHENTICATION_FAILED, "does not accept these credentials"),
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


def set_password(secured: Secured, user: str, password: str) -> None:
    admin = secured.cluster.admin()
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    change = UserScramCredentialUpsertion(user, credential, password.encode())
    for changed in admin.alter_user_scram_credentials([change]).values():
        changed.result(10)


@pytest.fixture
def refused_logins(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a broker refused somebody of this process."""
    refused: list[float] = []
    log_in = AIOKafkaConnection._do_sasl_handshake

    async def watched(connection: AIOKafkaConnection) -> None:
        try:
            await log_in(connection)
        except KafkaError:
            refused.append(SystemClock().now())
            raise

    monkeypatch.setattr(AIOKafkaConnection, "_do_sasl_handshake", watched)
    return refused


@pytest.mark.kafka
async def test_a_password_changed_and_changed_back_is_survived_with_few_logins(
    secured: Secured, unique: str, refused_logins: list[float]
) -> None:
    """While it is wrong both say so; logins lock accounts, and the engine alone tries six times a second."""
    await asyncio.to_thread(set_password, secured, unique, "the first")
    await asyncio.to_thread(secured.cluster.create_topic, unique, 1)
    choices = _sasl(secured, "BRIEF", "SCRAM-SHA-256", sasl_username=unique, sasl_password="the first")
    bench = Bench(choices.pop("bootstrap"), real=True)
    patient: dict[str, Any] = {"tuning": {"refused_retry_seconds": 2.0, "explain_after_seconds": 6.0}}
    producer = await bench.producer(**choices, **patient)
    reader = await bench.reader(unique, group=unique, **choices, **patient)
    where = TopicPartition(unique, 0)
    assert (await producer.send(where, records(b"a"))).verdict is Verdict.WRITTEN
    assert await reader.read(1) == [b"a"]
    assert await reader.commit({where: 1}) is CommitOutcome.COMMITTED
    refused_logins.clear()

    await asyncio.to_thread(set_password, secured, unique, "the second")

    def both() -> set[Problem | None]:
        return {producer.contact().problem, reader.consumer.contact().problem}

    await reader.until(lambda: both() == {Problem.AUTHENTICATION_FAILED}, "a word of the refusal")
    noticed = bench.clock.now()
    sending = asyncio.ensure_future(producer.send(where, records(b"b")))
    await reader.until(lambda: bench.clock.now() > noticed + 3, "three seconds")
    assert both() == {Problem.AUTHENTICATION_FAILED}
    assert 2 <= len(refused_logins) <= 10

    await asyncio.to_thread(set_password, secured, unique, "the first")
    await reader.until(lambda: both() == {None}, "contact")
    assert (await sending).verdict is Verdict.WRITTEN
    assert await reader.read(2) == [b"a", b"b"]
    assert reader.consumer.contact().rebuilds == 1
    await bench.close()


@pytest.mark.kafka
async def test_a_password_changed_at_the_broker_and_in_its_file_is_taken_up(
    secured: Secured, unique: str, tmp_path: Path
) -> None:
    """Without a restart; `BRIEF` lets every connection log in again after a moment."""
    file = tmp_path / "password"
    file.write_text("the first\n")
    await asyncio.to_thread(set_password, secured, unique, "the first")
    await asyncio.to_thread(secured.cluster.create_topic, unique, 1)
    choices = _sasl(secured, "BRIEF", "SCRAM-SHA-256", sasl_username=unique, sasl_password_file=str(file))
    bench = Bench(choices.pop("bootstrap"), real=True)
    producer = await bench.producer(**choices | {"sasl_password": None})
    where = TopicPartition(unique, 0)
    assert (await producer.send(where, records(b"a"))).verdict is Verdict.WRITTEN

    await asyncio.to_thread(set_password, secured, unique, "the second")
    refused = lambda: producer.contact().problem is Problem.AUTHENTICATION_FAILED  # noqa: E731
    await eventually(refused, SECONDS, "a word of the refusal")
    file.unlink()
    told = f"sasl_password_file is {file}: No such file"
    await eventually(lambda: told in producer.contact().detail, SECONDS, "a word of the file")
    assert producer.contact().problem is Problem.AUTHENTICATION_FAILED

    file.write_text("the second\n")
    await eventually(lambda: producer.contact().problem is None, SECONDS, "contact")
    assert (await producer.send(where, records(b"b"))).verdict is Verdict.WRITTEN
    await bench.close()


@pytest.mark.kafka
async def test_an_authority_changed_in_its_file_is_taken_up(
    secured: Secured, unique: str, tmp_path: Path
) -> None:
    file = tmp_path / "ca.crt"
    shutil.copy(secured.file("other.crt"), file)
    choices = _tls(secured, "TLS", ssl_ca_location=str(file))
    bench = Bench(choices.pop("bootstrap"), real=True)
    producer = await bench.producer(**choices)
    await eventually(lambda: producer.contact().problem is Problem.TLS_FAILED, SECONDS, "the refusal")

    shutil.copy(secured.file("ca.crt"), file)
    await eventually(lambda: producer.contact().problem is None, SECONDS, "contact")
    await bench.close()


@pytest.mark.kafka
@pytest.mark.parametrize("how", ["plain", "scram-256", "bearer token"])
async def test_no_secret_is_logged_in_a_whole_session_not_even_while_debugging(
    secured: Secured, how: str, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Through login, work, a refused login and the end."""
    caplog.set_level(logging.DEBUG)
    choices = _let_in(secured, how)
    secrets = [PASSWORD, "payload-of-somebody", "wrong-secret"]
    if provide := choices.get("oauth_token_provider"):
        secrets += [(await provide()).split(".")[0]]
    bench = Bench(choices.pop("bootstrap"), real=True)
    await bench.transport(**choices).admin().ensure_topic(NewTopic(unique, partitions=1))
    producer = await bench.producer(**choices)
    await producer.send(TopicPartition(unique, 0), records(b"payload-of-somebody"))
    reader = await bench.reader(unique, group=unique, **choices)
    await reader.read(1)
    await reader.commit({TopicPartition(unique, 0): 1})
    refused = await bench.producer(**choices | _spoiled(secured, choices))
    await eventually(lambda: refused.contact().problem is Problem.AUTHENTICATION_FAILED, 5, "the refusal")
    await bench.close()

    lines = [_everything_in(record) for record in caplog.records]
    assert sum("<SaslAuthenticateRequest" in line for line in lines) >= 3, "the dangerous lines are there"
    assert [line for line in lines if any(secret in line for secret in secrets)] == []


def _spoiled(secured: Secured, choices: dict[str, Any]) -> dict[str, Any]:
    if "oauth_token_provider" in choices:
        expired = _bearer_of(secured, seconds=-60)
        return {"oauth_token_provider": expired["oauth_token_provider"]}
    return {"sasl_password": "wrong-secret"}


def _everything_in(record: logging.LogRecord) -> str:
    """Also what only some formatters would show."""
    shown = logging.Formatter().format(record)
    return f"{shown} {record.msg!r} {record.args!r}"


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_no_setting_switches_verification_off(protocol: str) -> None:
    """Nor does leaving settings out, and a word for it from another library is no setting."""
    chosen: dict[str, Any] = {"security_protocol": protocol, "sasl_username": USER, "sasl_password": "x"}
    context = Access(settings("kafka.example:9093", **chosen)).credentials["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    for word in ("ssl_verify", "ssl_check_hostname", "enable_ssl_certificate_verification"):
        with pytest.raises(ConfigurationError, match=word):
            settings("kafka.example:9093", **chosen, **{word: False})


async def test_a_certificate_that_cannot_be_read_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    """It is read when it is needed: whoever builds a transport touches no file."""
    bench = Bench("127.0.0.1:1")
    missing = str(tmp_path / "missing.crt")
    producer = await bench.producer(security_protocol="SSL", ssl_ca_location=missing)
    await eventually(lambda: producer.contact().problem is Problem.TLS_FAILED, SECONDS, "the reason")
    assert f"cannot be read: ssl_ca_location is {missing}: No such file" in producer.contact().detail
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
