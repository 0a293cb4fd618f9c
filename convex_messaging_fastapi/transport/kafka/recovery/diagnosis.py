"""What an error of the engine means, in the words of the seam. Nothing here does anything."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import errors as engine

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.status import REFUSALS
from convex_messaging_fastapi.transport.base import CommitOutcome, Problem, Unreadable, Verdict
from convex_messaging_fastapi.transport.kafka.engine import (
    Distrusted,
    FencedInstanceId,
    GroupMaxSizeReached,
    InvalidRecord,
    Span,
    UnpacksTooLarge,
)


class Explanation(NamedTuple):
    """Why the cluster cannot be used; `detail` may name hosts, and holds no secret.

    Without `certain` it is only the likeliest reason why a connection ended.
    """

    problem: Problem
    detail: str
    certain: bool = True

    @property
    def refused(self) -> bool:
        """Whether trying again fast makes it worse."""
        return self.certain and self.problem in REFUSALS


_VERDICTS: Mapping[type[BaseException], Verdict] = {
    engine.MessageSizeTooLargeError: Verdict.TOO_LARGE,
    engine.RecordListTooLargeError: Verdict.TOO_LARGE,
    engine.InvalidTopicError: Verdict.REFUSED,
    engine.TopicAuthorizationFailedError: Verdict.REFUSED,
    engine.ClusterAuthorizationFailedError: Verdict.REFUSED,
    engine.TransactionalIdAuthorizationFailed: Verdict.REFUSED,
    engine.InvalidTimestampError: Verdict.REFUSED,
    InvalidRecord: Verdict.REFUSED,
    engine.InvalidRequiredAcksError: Verdict.REFUSED,
    engine.InvalidRequestError: Verdict.REFUSED,
    engine.UnsupportedVersionError: Verdict.REFUSED,
    engine.UnsupportedForMessageFormatError: Verdict.REFUSED,
    engine.IncompatibleBrokerVersion: Verdict.REFUSED,
    engine.PolicyViolationError: Verdict.REFUSED,
    engine.CorruptRecordException: Verdict.FAILED,
    engine.BrokerNotAvailableError: Verdict.FAILED,
    engine.ReplicaNotAvailableError: Verdict.FAILED,
    engine.StaleLeaderEpochCodeError: Verdict.FAILED,
}


def verdict_on(error: BaseException) -> Verdict:
    """What became of a batch that was sent and ended with `error`.

    After an error that does not mean "not written" the batch may be written: the engine repeats batches
    without a sign, and an error about sequence numbers or a leader may answer a repetition.
    """
    return _VERDICTS.get(type(error), Verdict.UNKNOWN)


_COMMITS: Mapping[type[BaseException], CommitOutcome] = {
    engine.UnknownMemberIdError: CommitOutcome.STALE,
    engine.IllegalGenerationError: CommitOutcome.STALE,
    FencedInstanceId: CommitOutcome.STALE,
    engine.RebalanceInProgressError: CommitOutcome.FAILED,
    engine.GroupLoadInProgressError: CommitOutcome.FAILED,
    engine.GroupCoordinatorNotAvailableError: CommitOutcome.FAILED,
    engine.NotCoordinatorForGroupError: CommitOutcome.FAILED,
    engine.NodeNotReadyError: CommitOutcome.FAILED,
    engine.OffsetMetadataTooLargeError: CommitOutcome.REFUSED,
    engine.InvalidCommitOffsetSizeError: CommitOutcome.REFUSED,
    engine.GroupAuthorizationFailedError: CommitOutcome.REFUSED,
    engine.TopicAuthorizationFailedError: CommitOutcome.REFUSED,
    engine.InvalidGroupIdError: CommitOutcome.REFUSED,
    engine.InvalidTopicError: CommitOutcome.REFUSED,
    engine.UnknownTopicOrPartitionError: CommitOutcome.REFUSED,
}


def outcome_of(error: BaseException) -> CommitOutcome:
    """What became of a partition's commit that ended with `error`."""
    return _COMMITS.get(type(error), CommitOutcome.UNKNOWN)


def explain_commit(error: BaseException, group: str, topic: str = "") -> str:
    """Why an offset is not stored."""
    return _sentence_on(error, group, topic)


def explain_publish(error: BaseException, topic: str) -> str:
    """Why a batch was refused, or its topic not shown; a missing right is named, with what to do."""
    said = _sentence_on(error, topic=topic, operation="WRITE")
    missing = engine.TopicAuthorizationFailedError | engine.ClusterAuthorizationFailedError
    return f"{said}: grant it" if isinstance(error, missing) else said


_MEMBERSHIP: Mapping[type[BaseException], Problem] = {
    engine.GroupAuthorizationFailedError: Problem.NOT_AUTHORIZED,
    engine.TopicAuthorizationFailedError: Problem.NOT_AUTHORIZED,
    engine.ClusterAuthorizationFailedError: Problem.NOT_AUTHORIZED,
    engine.InconsistentGroupProtocolError: Problem.GROUP_REFUSED,
    engine.InvalidSessionTimeoutError: Problem.GROUP_REFUSED,
    engine.InvalidGroupIdError: Problem.GROUP_REFUSED,
    GroupMaxSizeReached: Problem.GROUP_REFUSED,
    FencedInstanceId: Problem.GROUP_REFUSED,
}


RIVAL = "another process is a member with our group_instance_id: each process needs one of its own"


def explain_membership(error: BaseException, group: str = "", topic: str = "") -> Explanation:
    """Why the group, or some of its topics, cannot be read; a missing right is named."""
    said = _sentence_on(error, group, topic)
    return Explanation(_membership_problem(error), RIVAL if FencedInstanceId.__name__ in said else said)


def explain_unreadable(
    error: BaseException, where: TopicPartition, position: int, batch: Span | None
) -> Explanation:
    """Why a partition cannot be read on from `position`, and what to do about the batch in the way."""
    why = explain_membership(error, topic=where.topic)
    said = f"{where.topic}/{where.partition} at {position}: {why.detail}"
    if batch is None:
        return why._replace(detail=said)
    raising = "raise max_buffer_bytes, or " if isinstance(error, UnpacksTooLarge) else ""
    skipping = f"to skip this batch, stop the group and set its offset to {batch.end}"
    return Explanation(Problem.UNREADABLE, f"{said}; {raising}{skipping}")


def unreadable_batch(
    error: BaseException, where: TopicPartition, position: int, batch: Span | None
) -> Unreadable | None:
    """The batch that cannot be read at `position`; `None` if something else prevents reading."""
    if batch is None:
        return None
    first = position if batch.first is None else max(position, batch.first)
    why = explain_membership(error, topic=where.topic).detail
    return Unreadable(first, batch.end, type(error).__name__, why)


def _membership_problem(error: BaseException) -> Problem:
    if (problem := _MEMBERSHIP.get(type(error))) is not None:
        return problem
    # The engine wraps errors that it did not expect, and only their names are left in the text.
    said = str(error)
    return next(
        (problem for kind, problem in _MEMBERSHIP.items() if kind.__name__ in said), Problem.ENGINE_FAILED
    )


def explain_astray(server: str, named: Mapping[int, str]) -> Explanation:
    """The cluster answers at `server`, but not at the addresses that it names, given by broker id."""
    brokers = ", ".join(f"broker {id} as {address}" for id, address in sorted(named.items()))
    said = f"the cluster answers at {server}, but names its {brokers}, which cannot be reached"
    return Explanation(Problem.BROKER_UNREACHABLE, f"{said}: check advertised.listeners")


def explain_no_coordinator(group: str, seconds: float, word: str) -> Explanation:
    """No broker coordinates the group."""
    said = f"group {group} has had no coordinator for {seconds:.0f} s: {word}"
    advice = "can the cluster make and lead its topic __consumer_offsets?"
    return Explanation(Problem.NO_COORDINATOR, f"{said} ({advice})")


def explain_topics(refused: Mapping[str, type[BaseException]]) -> Explanation | None:
    """What the errors of these topics in the metadata mean; `None` if they will pass."""
    no_right = engine.TopicAuthorizationFailedError
    if closed := sorted(topic for topic, error in refused.items() if error is no_right):
        return Explanation(Problem.NOT_AUTHORIZED, _sentence_on(no_right(), topic=", ".join(closed)))
    if missing := missing_among(refused):
        return Explanation(Problem.TOPIC_MISSING, f"the cluster does not know {', '.join(missing)}")
    return None


def missing_among(refused: Mapping[str, type[BaseException]]) -> list[str]:
    """Which of these topics the cluster does not have."""
    return sorted(topic for topic, error in refused.items() if error in _NO_SUCH_TOPIC)


_NO_SUCH_TOPIC = (engine.UnknownTopicOrPartitionError, engine.InvalidTopicError)


def _sentence_on(error: BaseException, group: str = "", topic: str = "", operation: str = "READ") -> str:
    """The error in words; a missing right by the words that grant it. `operation` was tried on the topic."""
    named = error.args[0] if error.args and isinstance(error.args[0], str) else ""
    match error:
        case engine.TopicAuthorizationFailedError():
            right = f"{operation} on topic {topic or named}"
        case engine.GroupAuthorizationFailedError():
            right = f"READ on group {group or named}"
        case engine.ClusterAuthorizationFailedError():
            right = "WRITE on a topic, or IDEMPOTENT_WRITE on the cluster"
        case _:
            return _sentence(error)
    return f"these credentials lack {right} ({type(error).__name__})"


def explain_connection(error: BaseException, server: str, protocol: str) -> Explanation:
    """Why a connection to `server` could not be made and used."""
    problem, why = _hang_up(error, protocol) or _connection_problem(error, protocol)
    return Explanation(problem, f"{server}: {why}", certain=_hang_up(error, protocol) is None)


def _hang_up(error: BaseException, protocol: str) -> tuple[Problem, str] | None:
    """What a connection that ended without a word means, where that may be a wrong `security_protocol`.

    So ends one to a broker that is just going down, too, and one that a proxy cannot lead anywhere.
    """
    tls, sasl = protocol in ("SSL", "SASL_SSL"), protocol.startswith("SASL")
    match error:
        case ConnectionResetError() if tls:
            return (
                Problem.TLS_FAILED,
                "the connection was reset in the TLS handshake: does this port speak TLS?",
            )
        case engine.KafkaConnectionError() if (
            isinstance(error.__cause__, asyncio.IncompleteReadError) and not sasl
        ):
            return (
                Problem.TLS_FAILED if tls else Problem.AUTHENTICATION_FAILED,
                "the broker ended the connection at the first request: check security_protocol",
            )
    return None


def _connection_problem(error: BaseException, protocol: str) -> tuple[Problem, str]:
    cause = error.__cause__
    match error:
        case Distrusted():
            return Problem.AUTHENTICATION_FAILED, str(error.args[0])
        case engine.SaslAuthenticationFailed() | engine.AuthenticationFailedError():
            return Problem.AUTHENTICATION_FAILED, "the broker does not accept these credentials"
        case engine.UnsupportedSaslMechanismError():
            return Problem.AUTHENTICATION_FAILED, "the broker does not take this SASL mechanism"
        case engine.IllegalSaslStateError():
            return Problem.AUTHENTICATION_FAILED, "this listener takes no SASL: check security_protocol"
        case engine.ClusterAuthorizationFailedError():
            return Problem.NOT_AUTHORIZED, "these credentials may not use the cluster"
        case ssl.SSLCertVerificationError():
            return Problem.TLS_FAILED, f"the certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return Problem.TLS_FAILED, f"the TLS handshake failed: {_reason(error)}"
        case _ if isinstance(cause, ssl.SSLError):
            return Problem.TLS_FAILED, f"the broker ended the TLS handshake: {_reason(cause)}"
        case ConnectionRefusedError():
            return Problem.BROKER_UNREACHABLE, "connection refused"
        case TimeoutError():
            return Problem.BROKER_UNREACHABLE, "no answer in time"
        case ssl.SSLError() | OSError() if error.errno is not None:
            return Problem.BROKER_UNREACHABLE, error.strerror or type(error).__name__
        case engine.KafkaError():
            return Problem.BROKER_UNREACHABLE, _sentence(error)
        case OSError():
            return Problem.BROKER_UNREACHABLE, str(error) or type(error).__name__
    return Problem.ENGINE_FAILED, _sentence(error)


def _reason(error: ssl.SSLError) -> str:
    return str(getattr(error, "reason", None) or error)


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
