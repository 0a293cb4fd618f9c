"""What a subscriber chooses, as frozen values; mistakes and contradictions are refused when they are made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import isnan
from typing import Any, Literal, get_args

from convex_messaging_fastapi.errors import ConfigurationError, DeclarationError
from convex_messaging_fastapi.records import Delivery

Ordering = Literal["key", "partition", "none"]
"""`key`: one key, one after another. `partition`: one partition, one after another. `none`: no order."""

DeadLetterPolicy = Literal["bury", "hold", "discard"]
"""What becomes of a message whose attempts are spent. `bury`: it goes to the dead-letter topic. `hold`: it
stays unfinished, its partition waits, and readiness says so. `discard`: it is counted and left."""

Filter = Callable[[Delivery], bool]
"""Tells whether a message is for this handler; `of_type(Model)` makes one."""

MAX_DELAY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how fast a failed message is tried again, in place.

    `attempts` is the number of tries in all (1 = never again, `None` = for ever). The wait before
    try `n + 1` is `delay_seconds * multiplier ** (n - 1)`, at most `max_delay_seconds`, less a
    random share of up to `jitter` of itself. An exception is tried again if it is one of `only`
    and none of `never`; of an exception group, every exception in it is looked at. Raises
    `ConfigurationError` for values that make no sense.
    """

    attempts: int | None = 3
    delay_seconds: float = 5.0
    multiplier: float = 2.0
    max_delay_seconds: float = MAX_DELAY_SECONDS
    jitter: float = 0.2
    only: tuple[type[Exception], ...] = (Exception,)
    never: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        for name, rule in _RETRY_RULES.items():
            rule.check(f"Retry.{name}", getattr(self, name), ConfigurationError)
        if self.max_delay_seconds < self.delay_seconds:
            raise ConfigurationError(
                f"Retry.delay_seconds is at most max_delay_seconds, and {self.delay_seconds!r} is more than "
                f"{self.max_delay_seconds!r}: give a larger max_delay_seconds too"
            )


@dataclass(frozen=True, slots=True)
class Batch:
    """Hand a handler up to `max_records` records of one partition at once.

    A batch that is not full is handed over `max_wait_seconds` after its first record arrived. Raises
    `ConfigurationError` for values that make no sense.
    """

    max_records: int = 100
    max_wait_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name, rule in _BATCH_RULES.items():
            rule.check(f"Batch.{name}", getattr(self, name), ConfigurationError)


MAX_BREAKER_WAIT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """When to believe that an outage makes messages fail, and not the messages themselves.

    The breaker opens when at least `share` of the latest `of` messages have failed, each judged by its
    last attempt, or when a message is about to be given up although none has succeeded since its first
    failure; in both cases only where messages of three keys or more fail. It then begins nothing, gives
    up nothing, and after `wait_seconds` tries one message: success closes it, and each failure doubles
    the wait, to five minutes at most. With fewer than three keys at work it does not protect.
    """

    share: float = 0.9
    of: int = 20
    wait_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, rule in _BREAKER_RULES.items():
            rule.check(f"Breaker.{name}", getattr(self, name), ConfigurationError)


@dataclass(frozen=True, slots=True)
class SubscriberOptions:
    """Everything a subscriber may choose; `choices.py` says what each is for.

    `None` means that the bus's settings decide. Raises `DeclarationError`.
    """

    group: str | None = None
    id: str | None = None
    concurrency: int | None = None
    ordering: Ordering = "key"
    retry: Retry | None = None
    dead_letter: DeadLetterPolicy = "bury"
    timeout: float | None = None
    batch: Batch | None = field(default=None)
    filter: Filter | None = field(default=None)
    breaker: Breaker | Literal[False] | None = None

    def __post_init__(self) -> None:
        for name, rule in _OPTION_RULES.items():
            rule.check(name, getattr(self, name), DeclarationError)
        if self.batch is not None and self.ordering == "none":
            raise DeclarationError(
                "a batch keeps the order of its partition: remove ordering='none', or the batch"
            )


def shown(value: object) -> str:
    """A wrong value as an error tells it: short, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a `__repr__` may raise anything
        return f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a value may be, and the words for it."""

    takes: str
    accepts: Callable[[Any], bool]

    def check(self, name: str, value: object, mistake: type[ConfigurationError]) -> None:
        if not self.accepts(value):
            raise mistake(f"{name} takes {self.takes}, not {shown(value)}")


def _is_number(value: object, *, above: float = float("-inf"), least: float = float("-inf")) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool) or isnan(value):
        return False
    return value > above and value >= least


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _or_none(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in words


def _are_exceptions(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in value
    )


def _is_sync_function(value: object) -> bool:
    if not callable(value) or inspect.isclass(value):
        return False
    function = value.func if isinstance(value, partial) else value
    faces = (function, type(function).__call__)
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    return not any(is_kind(face) for is_kind in kinds for face in faces) and _takes_one(value)


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except Exception:  # noqa: BLE001 - written in C it tells nothing, and Python 3.14 runs annotations to tell
        return True
    return True


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join((", ".join(map(repr, words[:-1])), repr(words[-1])))


_COUNT = _Rule("a whole number of 1 or more", _is_count)
_ZERO_OR_MORE = _Rule("seconds, a number of 0 or more", partial(_is_number, least=0))
_EXCEPTIONS = _Rule("a tuple of exception classes, such as (ValueError,)", _are_exceptions)
_ORDERINGS: tuple[str, ...] = get_args(Ordering)
_ENDS: tuple[str, ...] = get_args(DeadLetterPolicy)

_RETRY_RULES: Mapping[str, _Rule] = {
    "attempts": _Rule("a whole number of 1 or more, or None for ever", _or_none(_is_count)),
    "delay_seconds": _ZERO_OR_MORE,
    "multiplier": _Rule("a number of 1 or more, for back-off never shrinks", partial(_is_number, least=1)),
    "max_delay_seconds": _ZERO_OR_MORE,
    "jitter": _Rule("a share from 0 to 1", lambda value: _is_number(value, least=0) and value <= 1),
    "only": _EXCEPTIONS,
    "never": _EXCEPTIONS,
}

_BATCH_RULES: Mapping[str, _Rule] = {"max_records": _COUNT, "max_wait_seconds": _ZERO_OR_MORE}

_BREAKER_RULES: Mapping[str, _Rule] = {
    "share": _Rule("a share above 0, at most 1", lambda value: _is_number(value, above=0) and value <= 1),
    "of": _Rule("a whole number from 3 to 1,000", lambda value: _is_count(value) and 3 <= value <= 1000),
    "wait_seconds": _Rule(
        f"seconds, a number above 0 and at most {MAX_BREAKER_WAIT_SECONDS:g}",
        lambda value: _is_number(value, above=0) and value <= MAX_BREAKER_WAIT_SECONDS,
    ),
}

_OPTION_RULES: Mapping[str, _Rule] = {
    "group": _Rule("the name of a consumer group, or None for the settings' own", _or_none(_is_name)),
    "id": _Rule("a name, or None for the handler's own", _or_none(_is_name)),
    "concurrency": _Rule("a whole number of 1 or more, or None for the settings' own", _or_none(_is_count)),
    "ordering": _Rule(_listed(_ORDERINGS), _is_one_of(*_ORDERINGS)),
    "retry": _Rule(
        "a Retry, such as Retry(attempts=5), or None for the settings' own",
        _or_none(lambda value: isinstance(value, Retry)),
    ),
    "dead_letter": _Rule(_listed(_ENDS), _is_one_of(*_ENDS)),
    "timeout": _Rule(
        "seconds, a number above 0 such as 2.5, or None for no limit", _or_none(partial(_is_number, above=0))
    ),
    "batch": _Rule(
        "a Batch, such as Batch(max_records=100), or None for single messages",
        _or_none(lambda value: isinstance(value, Batch)),
    ),
    "filter": _Rule(
        "a plain function of the Delivery that answers True or False, such as of_type(Model), or None",
        _or_none(_is_sync_function),
    ),
    "breaker": _Rule(
        "a Breaker, such as Breaker(wait_seconds=30), False for none, or None for the settings' own",
        lambda value: value is None or value is False or isinstance(value, Breaker),
    ),
}
