"""What the engine's errors mean: a table, read line by line."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from aiokafka import errors as engine

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Problem, Verdict
from convex_messaging_fastapi.transport.kafka.engine import Span
from convex_messaging_fastapi.transport.kafka.engine.codes import for_code
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import (
    explain_commit,
    explain_connection,
    explain_membership,
    explain_publish,
    explain_topics,
    outcome_of,
    unreadable_batch,
    verdict_on,
)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (engine.MessageSizeTooLargeError(), Verdict.TOO_LARGE),
        (engine.RecordListTooLargeError(), Verdict.TOO_LARGE),
        (engine.InvalidTopicError(), Verdict.REFUSED),
        (engine.TopicAuthorizationFailedError("orders"), Verdict.REFUSED),
        (engine.ClusterAuthorizationFailedError(), Verdict.REFUSED),
        (engine.InvalidTimestampError(), Verdict.REFUSED),
        (for_code(87)(), Verdict.REFUSED),
        (engine.CorruptRecordException(), Verdict.FAILED),
    ],
)
def test_a_batch_is_certainly_not_written_after_these(error: Exception, verdict: Verdict) -> None:
    assert verdict_on(error) is verdict


@pytest.mark.parametrize(
    "error",
    [
        engine.LeaderNotAvailableError(),
        engine.NotLeaderForPartitionError(),
        engine.OutOfOrderSequenceNumber(),
        engine.UnknownProducerId(),
        engine.ProducerFenced(),
        engine.ProducerClosed(),
        engine.KafkaConnectionError(),
        engine.RequestTimedOutError(),
        engine.UnknownError(),
        engine.KafkaError("Unexpected error during batch delivery"),
    ],
)
def test_a_batch_may_be_written_after_these(error: Exception) -> None:
    """Two of four batches that failed with LeaderNotAvailable were found in the log."""
    assert verdict_on(error) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (engine.UnknownMemberIdError(), CommitOutcome.STALE),
        (engine.IllegalGenerationError(), CommitOutcome.STALE),
        (for_code(82)(), CommitOutcome.STALE),
        (engine.NodeNotReadyError(), CommitOutcome.FAILED),
        (engine.GroupCoordinatorNotAvailableError(), CommitOutcome.FAILED),
        (engine.KafkaConnectionError(), CommitOutcome.UNKNOWN),
        (engine.RequestTimedOutError(), CommitOutcome.UNKNOWN),
        (ValueError(), CommitOutcome.UNKNOWN),
    ],
)
def test_a_commit_has_the_outcome_that_its_error_leaves_open(
    error: Exception, outcome: CommitOutcome
) -> None:
    assert outcome_of(error) is outcome


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (engine.GroupAuthorizationFailedError("g"), Problem.NOT_AUTHORIZED),
        (engine.InvalidSessionTimeoutError(), Problem.GROUP_REFUSED),
        (engine.InconsistentGroupProtocolError(), Problem.GROUP_REFUSED),
        (for_code(81)(), Problem.GROUP_REFUSED),
        (
            engine.KafkaError("Unexpected exception in heartbeat task: FencedInstanceId()"),
            Problem.GROUP_REFUSED,
        ),
        (engine.KafkaError("Unexpected"), Problem.ENGINE_FAILED),
    ],
)
def test_a_group_that_refuses_is_told_from_an_engine_that_fails(error: Exception, problem: Problem) -> None:
    assert explain_membership(error).problem is problem


@pytest.mark.parametrize(
    ("error", "right"),
    [
        (engine.TopicAuthorizationFailedError("orders"), "READ on topic orders"),
        (engine.TopicAuthorizationFailedError(), "READ on topic t"),
        (engine.GroupAuthorizationFailedError("billing"), "READ on group g"),
        (engine.GroupAuthorizationFailedError(), "READ on group g"),
        (engine.ClusterAuthorizationFailedError(), "WRITE on a topic, or IDEMPOTENT_WRITE on the cluster"),
    ],
)
def test_a_right_that_is_missing_is_named_by_the_words_that_grant_it(error: Exception, right: str) -> None:
    topic = "" if error.args else "t"
    expected = f"these credentials lack {right} ({type(error).__name__})"
    assert explain_membership(error, "g", topic).detail == explain_commit(error, "g", topic) == expected
    assert explain_membership(error).problem is Problem.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            engine.TopicAuthorizationFailedError(),
            "these credentials lack WRITE on topic orders (TopicAuthorizationFailedError): grant it",
        ),
        (
            engine.ClusterAuthorizationFailedError(),
            "these credentials lack WRITE on a topic, or IDEMPOTENT_WRITE on the cluster "
            "(ClusterAuthorizationFailedError): grant it",
        ),
        (engine.InvalidTimestampError("too old"), "InvalidTimestampError: [Error 32] InvalidTimestampError"),
    ],
)
def test_a_right_that_publishing_lacks_is_named_with_what_to_do(error: Exception, told: str) -> None:
    assert explain_publish(error, "orders").startswith(told)


def test_only_what_a_broker_said_of_a_topic_is_told_of_it() -> None:
    missing, closed = engine.UnknownTopicOrPartitionError, engine.TopicAuthorizationFailedError
    assert explain_topics({}) is None
    assert explain_topics({"a": engine.LeaderNotAvailableError}) is None
    found = explain_topics({"b": missing, "a": engine.InvalidTopicError})
    assert found == (Problem.TOPIC_MISSING, "the cluster does not know a, b", True)
    found = explain_topics({"a": missing, "c": closed, "b": closed})
    assert found is not None
    assert found.problem is Problem.NOT_AUTHORIZED
    assert found.detail == "these credentials lack READ on topic b, c (TopicAuthorizationFailedError)"


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


_CUT = asyncio.IncompleteReadError(b"", 4)


@pytest.mark.parametrize(
    ("error", "protocol", "problem", "sentence"),
    [
        (
            engine.SaslAuthenticationFailed("bad"),
            "SASL_SSL",
            Problem.AUTHENTICATION_FAILED,
            "does not accept",
        ),
        (
            engine.UnsupportedSaslMechanismError(),
            "SASL_SSL",
            Problem.AUTHENTICATION_FAILED,
            "SASL mechanism",
        ),
        (engine.IllegalSaslStateError(), "SASL_PLAINTEXT", Problem.AUTHENTICATION_FAILED, "takes no SASL"),
        (engine.ClusterAuthorizationFailedError(), "PLAINTEXT", Problem.NOT_AUTHORIZED, "may not use"),
        (ssl.SSLError(1, "wrong"), "SSL", Problem.TLS_FAILED, "handshake failed"),
        (
            _caused(engine.KafkaConnectionError(), ssl.SSLError(1, "x")),
            "SSL",
            Problem.TLS_FAILED,
            "ended the TLS",
        ),
        (ConnectionResetError(), "SASL_SSL", Problem.TLS_FAILED, "does this port speak TLS"),
        (
            _caused(engine.KafkaConnectionError(), _CUT),
            "PLAINTEXT",
            Problem.AUTHENTICATION_FAILED,
            "security_protocol",
        ),
        (_caused(engine.KafkaConnectionError(), _CUT), "SSL", Problem.TLS_FAILED, "security_protocol"),
        (TimeoutError(), "PLAINTEXT", Problem.BROKER_UNREACHABLE, "no answer in time"),
        (
            ConnectionRefusedError(111, "Connection refused"),
            "SSL",
            Problem.BROKER_UNREACHABLE,
            "connection refused",
        ),
        (OSError("Multiple exceptions"), "PLAINTEXT", Problem.BROKER_UNREACHABLE, "Multiple exceptions"),
        (engine.KafkaConnectionError("gone"), "SASL_SSL", Problem.BROKER_UNREACHABLE, "gone"),
        (AssertionError("odd"), "PLAINTEXT", Problem.ENGINE_FAILED, "AssertionError: odd"),
    ],
)
def test_a_connection_that_failed_is_explained(
    error: Exception, protocol: str, problem: Problem, sentence: str
) -> None:
    found = explain_connection(error, "kafka:9092", protocol)
    assert found.problem is problem
    assert found.detail.startswith("kafka:9092: ")
    assert sentence in found.detail


@pytest.mark.parametrize(
    ("position", "batch", "told"),
    [
        (7, Span(7, 9), (7, 9)),
        (7, Span(10, 12), (10, 12)),  # a gap in the log is nothing that could not be read
        (7, Span(5, 9), (7, 9)),  # what was handed out of it was read
        (7, Span(None, 9), (7, 9)),
        (7, None, None),
    ],
)
def test_of_an_unreadable_batch_is_told_what_nobody_was_given(
    position: int, batch: Span | None, told: tuple[int, int] | None
) -> None:
    found = unreadable_batch(ValueError("broken"), TopicPartition("orders", 1), position, batch)
    assert (None if found is None else found.span) == told
    if found is not None:
        assert (found.error, found.why) == ("ValueError", "ValueError: broken")
