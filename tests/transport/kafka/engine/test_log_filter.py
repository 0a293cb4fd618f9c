"""The engine's log: fit to be read, and fit to be shown."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import aiokafka.conn
import pytest
from aiokafka import errors
from aiokafka.protocol.admin import SaslAuthenticateRequest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.transport.kafka.engine.log_filter import EngineLogFilter, calm_engine_logs
from convex_messaging_fastapi.transport.kafka.engine.ours import ours


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def logger(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    """Of clients of ours."""
    caplog.set_level(logging.DEBUG)
    logger = logging.Logger("engine")
    logger.addHandler(caplog.handler)
    logger.addFilter(EngineLogFilter(clock, lines=2, seconds=30))
    with ours(anywhere=False):
        yield logger


def test_no_password_is_printed_even_while_debugging(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    request = SaslAuthenticateRequest(b"\0alice\0s3cret").prepare({36: (0, 0)})
    assert "s3cret" in repr(request), "the engine would print it"
    logger.debug("Request to %s:%d %d: %s", "kafka", 9092, 1, request)
    assert "s3cret" not in caplog.text
    assert "Request to kafka:9092 1: <SaslAuthenticateRequest_v0>" in caplog.text


def test_no_payload_is_printed(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    logger.debug("Sending (key=%s value=%s) to %s", b"card", b"4111", ("orders", 0))
    assert "Sending (key=<bytes> value=<bytes>) to ('orders', 0)" in caplog.text


def test_a_mapping_as_the_only_argument_is_not_printed(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.warning("got %s", {"password": "s3cret"})
    assert "got <dict>" in caplog.text


class Refused(Exception):
    """Said by a class where the engine has no instance."""


@pytest.mark.parametrize(
    ("arg", "told"),
    [
        (Refused, "Refused"),
        (errors.NotLeaderForPartitionError, "NotLeaderForPartitionError"),
        (SaslAuthenticateRequest, "SaslAuthenticateRequest"),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
        (7, "7"),
        (("orders", 0), "('orders', 0)"),
        (b"s3cret", "<bytes>"),
        ([b"s3cret"], "<list>"),
    ],
)
def test_a_class_is_told_by_its_name_and_what_may_hold_anything_by_its_type(
    arg: object, told: str, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.warning("Got error produce response, retrying. Error: %s", arg)
    assert caplog.messages == [f"Got error produce response, retrying. Error: {told}"]


def test_what_our_own_lines_say_better_is_held_back_and_counted(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        logger.error("Topic %s not found in cluster metadata", "orders")
    assert caplog.messages == []
    (filter,) = logger.filters
    assert isinstance(filter, EngineLogFilter)
    assert filter.held_back == 3


def test_lines_of_one_kind_are_held_back_and_counted(
    logger: logging.Logger, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        logger.error("Unable connect to node with id %s", 1)
    logger.error("another matter")
    assert [r.message for r in caplog.records].count("Unable connect to node with id 1") == 2
    assert caplog.records[-1].message == "another matter"
    clock.advance(30)
    logger.error("Unable connect to node with id %s", 1)
    assert "Unable connect to node with id 1 (8 more like this were held back)" in caplog.text


def test_a_rebalance_is_no_warning(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("Heartbeat failed for group %s because it is rebalancing", "bets")
    assert [(r.levelname, r.levelno) for r in caplog.records] == [("INFO", logging.INFO)]


def test_the_engines_loggers_get_one_filter_each(clock: ManualClock) -> None:
    calm_engine_logs(clock)
    calm_engine_logs(clock)
    for logger in (aiokafka.conn.log, logging.getLogger("aiokafka"), logging.getLogger("aiokafka.cluster")):
        assert len([f for f in logger.filters if isinstance(f, EngineLogFilter)]) == 1


def test_no_logger_of_the_engine_that_we_use_goes_without(clock: ManualClock) -> None:
    calm_engine_logs(clock)
    rooms = [module for name, module in sys.modules.items() if name.startswith("aiokafka")]
    loggers = {room.log for room in rooms if isinstance(getattr(room, "log", None), logging.Logger)}
    assert len(loggers) > 8
    bare = [each.name for each in loggers if not any(isinstance(f, EngineLogFilter) for f in each.filters)]
    assert bare == []
