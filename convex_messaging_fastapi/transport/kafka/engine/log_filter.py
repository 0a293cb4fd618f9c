"""Keeps the engine's log readable: no secrets or payloads, and one line of a kind in half a minute."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.messages.validation_errors import one_line
from convex_messaging_fastapi.transport.kafka.engine.ours import at_work

_SAY_AS_IT_IS = (int, float, bool, type(None), BaseException)
_ORDINARY = ("Heartbeat failed for group %s because it is rebalancing",)
"""Warnings of the engine about what happens whenever a replica comes or goes."""

MAX_WORD = 2000

_TOLD_BY_US = (
    "Topic %s not found in cluster metadata",
    "No partition metadata for topic %s",
    "Not authorized to read from topic %s.",
)
"""Warnings that our own lines tell better, with the group and a remedy; the engine repeats them each time."""

_MODULES = (
    "aiokafka",
    "aiokafka.abc",
    "aiokafka.admin.client",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.consumer.subscription_state",
    "aiokafka.coordinator.assignors.abstract",
    "aiokafka.coordinator.assignors.roundrobin",
    "aiokafka.helpers",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)


class _Heard(NamedTuple):
    since: float
    lines: int


class EngineLogFilter(logging.Filter):
    """At most `lines` of one kind in `seconds`; what was held back is counted on the next line.

    Lines about clients that are not ours pass as they are.

    A class is shown by its name. Other arguments that are not plain values are replaced by the name of their
    type: the engine's debug lines print whole requests, and one of them carries the password.
    """

    def __init__(self, clock: Clock, lines: int = 1, seconds: float = 30.0) -> None:
        super().__init__()
        self._clock = clock
        self._lines = lines
        self._seconds = seconds
        self._heard: dict[tuple[str, str], _Heard] = {}
        self.held_back: int = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if at_work() is None:
            return True
        record.args = _redacted(record.args)
        if record.msg in _ORDINARY:
            record.levelno, record.levelname = logging.INFO, "INFO"
        if record.levelno < logging.INFO:
            return True
        may_speak = record.msg not in _TOLD_BY_US and self._may_speak(record)
        self.held_back += not may_speak
        return may_speak

    def _may_speak(self, record: logging.LogRecord) -> bool:
        kind = (record.name, str(record.msg)[:80])
        now = self._clock.now()
        heard = self._heard.get(kind)
        if heard is None or now - heard.since >= self._seconds:
            self._heard[kind] = _Heard(now, 1)
            if heard is not None and (held_back := heard.lines - self._lines) > 0:
                record.msg = f"{record.msg} ({held_back} more like this were held back)"
            return True
        self._heard[kind] = heard._replace(lines=heard.lines + 1)
        return heard.lines < self._lines


def calm_engine_logs(clock: Clock) -> None:
    """Put the filter on the engine's loggers, once in a process."""
    # A filter on a logger does not see what its children log, so each gets it.
    for name in _MODULES:
        logger = logging.getLogger(name)
        if not any(isinstance(present, EngineLogFilter) for present in logger.filters):
            logger.addFilter(EngineLogFilter(clock))


def held_back() -> int:
    """How many lines were held back so far in this process."""
    filters = (each for name in _MODULES for each in logging.getLogger(name).filters)
    return sum(each.held_back for each in filters if isinstance(each, EngineLogFilter))


def _redacted(args: object) -> tuple[object, ...] | None:
    if not args:
        return None
    if not isinstance(args, tuple):
        return (f"<{type(args).__name__}>",)
    return tuple(_plain(arg) for arg in args)


def _plain(arg: object) -> object:
    if isinstance(arg, str):
        return one_line(arg, MAX_WORD)
    if isinstance(arg, type):
        return arg.__name__
    if isinstance(arg, _SAY_AS_IT_IS):
        return arg
    if isinstance(arg, (list, set, frozenset, tuple)) and _all_plain(arg):
        return arg
    return f"<{type(arg).__name__}>"


def _all_plain(values: Iterable[object]) -> bool:
    return all(
        isinstance(value, (str, int)) or (isinstance(value, tuple) and _all_plain(value)) for value in values
    )
