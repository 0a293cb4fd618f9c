"""The command line on real Kafkas, where what is told is the cluster's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calls import MODULE, Cli
from tests.support.guarded import Guarded
from tests.support.independent import Independent
from tests.support.services import Service
from tests.support.waiting import until
from tools.kafka.cluster import Cluster
from tools.kafka.common import HOST


@pytest.fixture
def prefix(folder: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KAFKA_TOPIC_PREFIX", unique)
    return unique


@pytest.fixture
def on_kafka(folder: Path, kafka: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)


@pytest.mark.usefixtures("on_kafka")
def test_topics_are_made_and_shown(cli: Cli, prefix: str) -> None:
    planned = cli("topics", "create", "orders", "bets", "--partitions", "3")
    assert planned.code == 0
    assert [line.split()[0] for line in planned.lines] == ["TOPIC", f"{prefix}.orders", f"{prefix}.bets"]
    assert "would be created" in planned.out
    assert planned.err.startswith("nothing was done: say --yes to do it")
    assert cli("topics", "show", "orders").code == 5

    assert cli("topics", "create", "orders", "--partitions", "3", "--yes").code == 0
    again = cli("topics", "create", "orders", "--yes", "--json")
    assert again.json == [{"topic": f"{prefix}.orders", "result": "is there"}]
    shown = cli("topics", "show", "orders", "--json").json
    assert [each["partition"] for each in shown["partitions"]] == [0, 1, 2]
    assert shown["config"]["retention.ms"] == "604800000"
    table = cli("topics", "show", "orders").lines
    assert table[0].split() == ["SETTING", "VALUE"]
    assert table[2].split() == ["retention.ms", "604800000"]
    assert table[7].split() == ["PARTITION", "LEADER", "REPLICAS", "IN", "SYNC"]
    assert table[8].split() == ["0", "1", "1", "1"]


@pytest.mark.usefixtures("on_kafka", "prefix")
def test_all_that_an_app_reads_is_made(shop: Path, cli: Cli) -> None:
    assert cli("topics", "create", "--from-app", "--yes").code == 0
    made = {each["topic"].rpartition(".")[2] for each in cli("topics", "create", "--from-app", "--json").json}
    assert made == {"orders", "invoices"}


@pytest.mark.usefixtures("on_kafka", "prefix")
def test_a_time_may_be_where_it_begins_and_ends(cli: Cli) -> None:
    assert cli("topics", "create", "orders", "--yes").code == 0
    assert cli("publish", "orders", '{"id": 1}').code == 0
    assert cli("publish", "orders", '{"id": 2}').code == 0
    first, second = (
        json.loads(line)["timestamp"]
        for line in cli("tail", "orders", "--from", "-2", "--exit-at-end", "--json").lines
    )
    assert first < second
    for words, ids in [
        (("--from", "2020-01-01T00:00Z"), [1, 2]),
        (("--from", second), [2]),
        (("--from", first, "--to", second), [1]),
        (("--from", "2100-01-01T00:00Z"), []),
    ]:
        ran = cli("tail", "orders", "--exit-at-end", "--json", *words)
        assert sorted(json.loads(json.loads(line)["value"])["id"] for line in ran.lines) == ids, ran.err


@pytest.mark.kafka
def test_who_is_refused_is_told_why(
    cli: Cli, guarded: Guarded, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = guarded.new_user()
    for name, value in user.environment.items():
        monkeypatch.setenv(name, value)
    topic = guarded.cluster.create_topic(f"{prefix}.orders")
    guarded.grant(user, "DESCRIBE", topic=topic)
    refused = cli("publish", "orders", "1")
    assert (refused.code, refused.err) == (4, f"error: these credentials lack WRITE on topic {topic}\n")
    Independent(guarded.cluster.witnessed).write(topic, [b"a"])
    refused = cli("tail", "orders", "--from", "earliest", "--exit-at-end")
    assert refused.code == 4
    assert f"these credentials lack READ on topic {topic}" in refused.err
    guarded.withdraw(user, "DESCRIBE", topic=topic)
    for words in (
        ("tail", "orders", "--exit-at-end"),
        ("topics", "show", "orders"),
        ("publish", "orders", "1"),
    ):
        assert cli(*words).code == 4
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "guessed")
    for line in ("topics list", "publish orders 1", "tail orders --exit-at-end", "dlq list", "dlq replay"):
        refused = cli(*line.split())
        assert (refused.code, refused.out) == (4, "")
        assert "the broker does not accept these credentials" in refused.err


FAILS = """
from convex_messaging_fastapi import ConvexMessage, MessageBus, Retry


class Payment(ConvexMessage):
    card: str


bus = MessageBus()


@bus.subscriber("payments", id="charge", retry=Retry(attempts=1))
async def charge(payment: Payment) -> None:
    raise ValueError(f"declined {payment.card}")
"""


@pytest.mark.usefixtures("on_kafka")
def test_what_failed_is_listed_shown_validated_and_exported(
    folder: Path, cli: Cli, kafka: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_CONSUMER_GROUP", f"{prefix}-shop")
    (folder / "main.py").write_text(FAILS)
    for topic in ("payments", "dlq"):
        kafka.create_topic(f"{prefix}.{topic}", 1)
    for number in range(3):
        assert cli("publish", "payments", f'{{"Card": "{number}"}}', "--key", str(number)).code == 0
    assert cli("publish", "payments", "{}").code == 0
    running = Service(folder, {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}, command=lambda app, port: (
        MODULE[2], "run", "--app", "main:bus", "--host-health", f"{HOST}:{port}"
    ))  # fmt: skip
    running.environment |= {"KAFKA_TOPIC_PREFIX": prefix, "KAFKA_CONSUMER_GROUP": f"{prefix}-shop"}
    try:
        running.start().wait_ready()
        letters = Independent(kafka.bootstrap)
        until(lambda: len(letters.read(f"{prefix}.dlq")) == 4, 60, "four letters")
    finally:
        running.kill()
    listed = cli("dead-letters", "list", "--json").json
    assert {
        each["exception_type"].rpartition(".")[2]: each["counts"]["open"] for each in listed["groups"]
    } == {
        "ValueError": 3,
        "DecodeError": 1,
    }
    rows = cli("dlq", "list", "--by", "letter", "--type", "ValueError").lines
    assert [row.split()[0] for row in rows[1:]] == ["0/2", "0/1", "0/0"]
    assert cli("dlq", "show", "0/0", "--raw").out == '{"Card": "0"}'
    assert cli("dlq", "show", "0/99").code == 5
    validated = cli("dlq", "validate", "--json")
    assert validated.code == 1
    assert {each["verdict"]: each["count"] for each in validated.json["results"]} == {
        "accepted": 3,
        "refused": 1,
    }
    assert cli("dlq", "validate", "--type", "ValueError").code == 0
    exported = [json.loads(line) for line in cli("dlq", "export").lines]
    assert [each["Value"] for each in exported] == ['{"Card": "0"}', '{"Card": "1"}', '{"Card": "2"}', "{}"]
