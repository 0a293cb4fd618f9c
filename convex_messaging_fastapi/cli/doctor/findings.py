"""What was looked at, how it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Mark(Enum):
    GOOD = "good"
    DOUBTFUL = "doubtful"
    """It works, and may not be meant so."""
    WRONG = "wrong"
    SKIPPED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is a word of `CHECKS`; `fix` says what to do, and is empty where nothing is to be done."""

    check: str
    mark: Mark
    fact: str
    fix: str = ""


Findings = Iterator[Finding]

CHECKS = (
    "versions",
    "engine",
    "settings",
    "dns",
    "tcp",
    "tls",
    "login",
    "broker",
    "brokers",
    "topics",
    "compression",
    "dead letters",
    "states",
    "group",
    "rights",
    "transactions",
    "partitioner",
)
"""In the order in which they are made. Where one of the connection fails, those behind it are not made."""


def good(check: str, fact: str) -> Finding:
    return Finding(check, Mark.GOOD, fact)


def doubtful(check: str, fact: str, fix: str) -> Finding:
    return Finding(check, Mark.DOUBTFUL, fact, fix)


def wrong(check: str, fact: str, fix: str) -> Finding:
    return Finding(check, Mark.WRONG, fact, fix)


def skipped(check: str, why: str) -> Finding:
    return Finding(check, Mark.SKIPPED, why)
