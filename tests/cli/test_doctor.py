"""`doctor` on real Kafkas: what is wrong is the line that is marked, and its fix mends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calls import Cli
from tests.support.guarded import NO_SUCH_HOST, Guarded
from tests.transport.kafka.secured import Secured, secured_cluster
from tools.kafka.cluster import Cluster
from tools.kafka.common import HOST, free_ports

HANDLED = ("orders", "invoices")


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch, unique: str) -> Mapping[str, str]:
    """Names that no other test has."""
    names = {"KAFKA_TOPIC_PREFIX": unique, "KAFKA_CONSUMER_GROUP": f"{unique}-shop"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    return names


@pytest.fixture
def topics(settings: Mapping[str, str]) -> list[str]:
    return [f"{settings['KAFKA_TOPIC_PREFIX']}.{name}" for name in HANDLED]


class Doctor:
    """What it finds, by the word of each check."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli
        self.code = -1

    def finds(self, *words: str) -> dict[str, list[dict[str, Any]]]:
        ran = self._cli("doctor", "--json", "--timeout", "5", *words)
        self.code = ran.code
        assert ran.err == ""
        found: dict[str, list[dict[str, Any]]] = {}
        for finding in ran.json:
            found.setdefault(finding["check"], []).append(finding)
        return found

    def marked(self, mark: str, *words: str) -> list[dict[str, Any]]:
        return [each for of_check in self.finds(*words).values() for each in of_check if each["mark"] == mark]


@pytest.fixture
def doctor(shop: Path, cli: Cli) -> Doctor:
    return Doctor(cli)


def mended(cli: Cli, fix: str, *words: str) -> None:
    """Type what the fix says."""
    name, *command = shlex.split(fix)
    assert name == "convex-messaging"
    ran = cli(*command, *words)
    assert ran.code == 0, ran.err


def test_a_healthy_cluster_has_nothing_wrong_or_doubtful(
    doctor: Doctor, kafka_cluster: Cluster, topics: list[str]
) -> None:
    for topic in topics:
        kafka_cluster.create_topic(topic, replication_factor=3, config={"min.insync.replicas": "2"})
    found = doctor.finds("--bootstrap-servers", kafka_cluster.bootstrap)
    assert [each for of_check in found.values() for each in of_check if each["mark"] != "good"] == []
    assert doctor.code == 0
    assert len(found["brokers"]) == 3
    assert found["topics"][0]["fact"] == "2 that its handlers read are there"
    assert list(found) == [
        *("versions", "engine", "settings", "dns", "tcp", "broker", "brokers", "topics", "compression"),
        *("dead letters", "states", "group", "rights", "transactions", "partitioner"),
    ]


def test_people_read_a_line_a_check_and_a_fix_below_it(
    cli: Cli, shop: Path, kafka: Cluster, topics: list[str]
) -> None:
    ran = cli("doctor", "--bootstrap-servers", kafka.bootstrap)
    assert ran.code == 1
    assert f"✗ topics        {topics[0]} is not there, and create_topics is off" in ran.lines
    assert f"                -> convex-messaging topics create {topics[0]} --yes" in ran.lines


def test_a_topic_that_is_missing_can_be_made_as_the_fix_says(
    doctor: Doctor, cli: Cli, kafka: Cluster, topics: list[str]
) -> None:
    where = ("--bootstrap-servers", kafka.bootstrap)
    missing = doctor.marked("wrong", *where)
    assert [each["check"] for each in missing] == ["topics", "topics"]
    for finding in missing:
        mended(cli, finding["fix"], *where)
    assert doctor.marked("wrong", *where) == []
    assert doctor.code == 0


def test_one_copy_is_doubtful_and_the_fix_gives_it_three(
    doctor: Doctor, cli: Cli, kafka_cluster: Cluster, topics: list[str]
) -> None:
    where = ("--bootstrap-servers", kafka_cluster.bootstrap)
    lonely, other = topics
    kafka_cluster.create_topic(lonely, replication_factor=1)
    kafka_cluster.create_topic(other, replication_factor=3, config={"min.insync.replicas": "1"})
    copies, in_sync = doctor.marked("doubtful", *where)
    assert doctor.code == 0
    assert copies["fact"] == f"{lonely} has one copy: what it holds is gone with its broker"
    assert in_sync["fact"].startswith(f"{other} takes a message as written when one broker has it")
    kafka_cluster.delete_topic(lonely)
    mended(cli, copies["fix"].removeprefix("make it with more: ").partition(";")[0], *where)
    assert [each["fact"] for each in doctor.marked("doubtful", *where)] == [in_sync["fact"]]


@pytest.mark.usefixtures("settings")
def test_a_wrong_port_is_marked_and_nothing_behind_it_is_tried(doctor: Doctor) -> None:
    found = doctor.finds("--bootstrap-servers", "127.0.0.1:1")
    assert doctor.code == 1
    assert found["tcp"][0]["fact"] == "127.0.0.1:1: connection refused"
    assert list(found)[-1] == "tcp"


@pytest.mark.usefixtures("settings")
def test_the_right_port_mends_it(doctor: Doctor, kafka: Cluster) -> None:
    (finding,) = doctor.marked("wrong", "--bootstrap-servers", f"{HOST}:{next(free_ports())}")
    assert finding["check"] == "tcp"
    assert "is this the port of its listener for clients" in finding["fix"]
    assert doctor.finds("--bootstrap-servers", kafka.bootstrap)["tcp"][0]["mark"] == "good"


@pytest.mark.usefixtures("settings")
def test_a_name_without_an_address_is_marked(doctor: Doctor) -> None:
    found = doctor.finds("--bootstrap-servers", NO_SUCH_HOST)
    assert (doctor.code, list(found)[-1]) == (1, "dns")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    from contextlib import ExitStack

    from tests.support.required import start_or_skip

    with ExitStack() as ends:
        yield start_or_skip(ends, secured_cluster(tmp_path_factory.mktemp("secured")))


@pytest.mark.kafka
def test_a_tls_port_spoken_to_in_plain_is_marked_and_mended(
    doctor: Doctor, secured: Secured, settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", secured.addresses["TLS"])
    (finding,) = doctor.marked("wrong")
    assert finding["check"] == "tls"
    assert finding["fact"] == f"{secured.addresses['TLS']} speaks TLS, and security_protocol is PLAINTEXT"
    name, _, value = finding["fix"].removeprefix("set ").partition(",")[0].partition("=")
    monkeypatch.setenv(name, value)
    (finding,) = doctor.marked("wrong")
    assert finding["check"] == "tls"
    assert "the certificate is not trusted" in finding["fact"]
    assert finding["fix"].startswith("set ssl_ca_location to the authority")
    monkeypatch.setenv("KAFKA_SSL_CA_LOCATION", secured.file("ca.crt"))
    found = doctor.finds()
    assert [each["mark"] for each in found["tls"]] == ["doubtful"], "the test's certificate ends within days"
    assert found["broker"][0]["mark"] == "good"


@pytest.mark.kafka
def test_a_plain_port_spoken_to_in_tls_is_marked(
    doctor: Doctor, secured: Secured, settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", secured.addresses["PLAINTEXT"])
    (finding,) = doctor.marked("wrong")
    assert finding["check"] == "tls"
    assert "does this port speak TLS? If not, set security_protocol to PLAINTEXT" in finding["fix"]
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    assert doctor.finds()["broker"][0]["mark"] == "good"


@pytest.mark.kafka
def test_a_login_at_a_port_that_takes_none_is_marked_and_mended(
    doctor: Doctor, secured: Secured, settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "ada",
        "KAFKA_SASL_PASSWORD": "secret",
    }
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", secured.addresses["PLAINTEXT"])
    (finding,) = doctor.marked("wrong")
    assert (finding["check"], finding["fix"].partition(",")[0]) == (
        "login",
        "set KAFKA_SECURITY_PROTOCOL=PLAINTEXT",
    )
    for name in login:
        monkeypatch.delenv(name)
    assert doctor.finds()["broker"][0]["mark"] == "good"


@pytest.mark.kafka
def test_a_mechanism_that_is_not_offered_is_named_with_those_that_are(
    doctor: Doctor, guarded: Guarded, settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user = guarded.new_user()
    for name, value in user.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256")
    (finding,) = doctor.marked("wrong")
    assert (finding["check"], finding["fix"]) == (
        "login",
        "set KAFKA_SASL_MECHANISM to one that it offers: PLAIN",
    )
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "PLAIN")
    assert doctor.finds()["login"][0]["mark"] == "good"


@pytest.mark.kafka
def test_a_wrong_password_is_marked_and_the_right_one_mends_it(
    doctor: Doctor, guarded: Guarded, settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user = guarded.new_user()
    for name, value in user.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "guessed")
    (finding,) = doctor.marked("wrong")
    assert finding["check"] == "login"
    assert "does not accept these credentials" in finding["fact"]
    assert "KAFKA_SASL_PASSWORD" in finding["fix"]
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", user.password)
    assert doctor.finds()["login"][0]["mark"] == "good"


@pytest.mark.kafka
@pytest.mark.parametrize("door", ["CLOSED", "NAMELESS"])
def test_a_wrong_advertised_address_is_marked(
    doctor: Doctor, guarded: Guarded, settings: Mapping[str, str], door: str
) -> None:
    (finding,) = doctor.marked("wrong", "--bootstrap-servers", guarded.astray[door])
    assert finding["check"] == "brokers"
    assert f"broker 1 sends clients to {guarded.named[door]}" in finding["fact"]
    assert "advertised.listeners" in finding["fix"]
    mended = doctor.finds("--bootstrap-servers", guarded.cluster.witnessed)
    assert mended["brokers"][0]["mark"] == "good", "a door that is named rightly"


@pytest.mark.kafka
def test_a_right_that_is_missing_is_marked_and_granting_it_mends_it(
    doctor: Doctor,
    guarded: Guarded,
    settings: Mapping[str, str],
    topics: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user, prefix = guarded.new_user(), settings["KAFKA_TOPIC_PREFIX"]
    for name, value in user.environment.items():
        monkeypatch.setenv(name, value)
    for topic in (*topics, f"{prefix}.dlq"):
        guarded.cluster.create_topic(topic)
    first, second = topics
    guarded.grant(user, "READ", topic=first)
    guarded.grant(user, "DESCRIBE", topic=second)
    guarded.grant(user, "DESCRIBE", group=prefix, prefixed=True)
    guarded.grant(user, "READ", group="counting")
    found = doctor.finds()
    lacking = {each["fact"].partition(":")[0]: each for each in found["rights"] if each["mark"] == "wrong"}
    assert lacking.keys() == {
        f"no READ on topic {second}",
        f"no WRITE on topic {prefix}.dlq",
        f"no READ on group {settings['KAFKA_CONSUMER_GROUP']}",
        f"no READ on group {prefix}.invoices",
    }
    fix = lacking[f"no READ on topic {second}"]["fix"]
    assert fix.endswith(f"--add --allow-principal User:{user.name} --operation Read --topic {second}")
    assert found["transactions"][0]["mark"] == "doubtful"
    assert f"--transactional-id {prefix}.dlq/" in found["transactions"][0]["fix"]
    guarded.grant(user, "READ", topic=second)
    guarded.grant(user, "WRITE", topic=f"{prefix}.dlq")
    guarded.grant(user, "READ", group=prefix, prefixed=True)
    assert [each for each in doctor.finds()["rights"] if each["mark"] == "wrong"] == []


@pytest.mark.usefixtures("settings")
def test_settings_that_contradict_each_other_are_the_line(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_DRAIN_TIMEOUT_SECONDS", "99")
    (finding,) = doctor.marked("wrong")
    assert finding["check"] == "settings"
    assert finding["fact"].startswith("drain_timeout_seconds (99) must be less than")


@pytest.mark.usefixtures("settings")
def test_an_engine_that_is_not_known_is_the_line(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    from convex_messaging_fastapi.transport.kafka import selfcheck

    monkeypatch.setitem(selfcheck._PARAMETERS, "aiokafka:AIOKafkaConsumer.commit", "self everything")
    (finding,) = doctor.marked("wrong")
    assert (finding["check"], finding["fix"]) == ("engine", "pip install 'aiokafka>=0.14,<0.15'")
