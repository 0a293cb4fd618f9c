"""The broker that asks who may do what: rights are in effect when they are given, and gone when taken."""

from __future__ import annotations

from aiokafka.client import AIOKafkaClient
from confluent_kafka import KafkaError, KafkaException

from tests.conftest import KafkaWith
from tests.support.guarded import Guarded, User
from tests.support.independent import Independent


def test_a_user_may_do_what_it_was_given_the_right_to_and_no_more(guarded: Guarded, unique: str) -> None:
    user, other = guarded.new_user(), guarded.new_user()
    topic = guarded.cluster.create_topic(unique, 1)
    assert not writes(user, topic)
    guarded.grant(user, "WRITE", topic=topic)
    assert writes(user, topic)
    assert not writes(other, topic)
    guarded.withdraw(user, "WRITE", topic=topic)
    assert not writes(user, topic)


def test_a_prefix_stands_for_all_names_that_begin_so(guarded: Guarded, unique: str) -> None:
    user = guarded.new_user()
    guarded.grant_all(user, f"{unique}.")
    assert writes(user, guarded.cluster.create_topic(f"{unique}.a", 1))
    assert not writes(user, guarded.cluster.create_topic(f"{unique}-b", 1))


def test_tests_may_do_everything_and_see_what_users_wrote(guarded: Guarded, unique: str) -> None:
    user = guarded.new_user()
    topic = guarded.cluster.create_topic(unique, 1)
    guarded.grant(user, "WRITE", topic=topic)
    writes(user, topic)
    assert [seen.value for seen in Independent(guarded.cluster.witnessed).read(topic)] == [b"x"]
    guarded.cluster.delete_topic(topic)
    assert topic not in guarded.cluster.metadata().topics


async def test_a_door_that_leads_astray_answers_and_names_another_address(guarded: Guarded) -> None:
    for door in ("CLOSED", "NAMELESS"):
        client = AIOKafkaClient(bootstrap_servers=guarded.astray[door])  # librdkafka waits for the other
        await client.bootstrap()
        (broker,) = client.cluster.brokers()
        await client.close()
        assert f"{broker.host}:{broker.port}" == guarded.named[door]


def test_a_broker_with_properties_of_its_own_is_started_once(kafka_with: KafkaWith) -> None:
    small = {"offset.metadata.max.bytes": "120"}
    cluster = kafka_with(small)
    assert kafka_with(dict(small)) is cluster
    assert not Independent(cluster.bootstrap).committed("nobody", "__consumer_offsets")


def writes(user: User, topic: str) -> bool:
    """Whether the user may write a record."""
    login: dict[str, object] = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user.name,
        "sasl.password": user.password,
    }
    try:
        Independent(user.bootstrap).write(topic, [b"x"], settings=login)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise
        return False
    return True
