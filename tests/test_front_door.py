"""What users name, annotate, make or catch can be imported from the package's root."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from prometheus_client import CollectorRegistry

import convex_messaging_fastapi
from convex_messaging_fastapi import operations
from convex_messaging_fastapi.errors import HandlerSignal, MessagingError

OURS = convex_messaging_fastapi.__name__
SHOWN = {name: getattr(convex_messaging_fastapi, name) for name in convex_messaging_fastapi.__all__}

OF_EXTRAS = {each.__name__: each for each in (CollectorRegistry, MeterProvider, TracerProvider)}
"""What signatures mention that is imported only where it is used."""

NAMED = {**OF_EXTRAS, **SHOWN}

FOR_OPERATORS = [value for name, value in vars(operations).items() if not name.startswith("_")]
"""What operators name has a door of its own: a service needs none of it."""


def is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith(OURS)


def callables_of(shown: Any) -> Iterator[Any]:
    """The functions by which it is used, constructors and properties included."""
    if inspect.isfunction(shown):
        yield shown
    elif inspect.isclass(shown):
        for name, member in inspect.getmembers(shown):
            if name.startswith("_") and name not in ("__init__", "__new__"):
                continue
            member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(member) and is_ours(member):
                yield inspect.unwrap(member)


def mentioned_by(shown: Any) -> Iterator[Any]:
    """The types that its signatures and fields mention. `**` stands for keywords, not for a type."""
    for function in callables_of(shown):
        hints = get_type_hints(function, localns=NAMED)  # some are imported for type checkers alone
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                hints.pop(parameter.name, None)
        yield from hints.values()
    if inspect.isclass(shown) and is_ours(shown):
        yield from (
            hint for name, hint in get_type_hints(shown, localns=NAMED).items() if not name.startswith("_")
        )


def parts_of(hint: Any) -> Iterator[Any]:
    yield hint
    for argument in get_args(hint):
        for each in argument if isinstance(argument, list) else [argument]:
            yield from parts_of(each)


@pytest.mark.parametrize("name", SHOWN)
def test_every_type_that_a_signature_mentions_is_at_the_front_door(name: str) -> None:
    mentioned = {
        part for hint in mentioned_by(SHOWN[name]) for part in parts_of(hint) if inspect.isclass(part)
    }
    known = [*SHOWN.values(), *FOR_OPERATORS]
    assert not [each for each in mentioned if is_ours(each) and each not in known]


def test_a_mention_is_found_wherever_it_hides() -> None:
    class Hidden: ...

    Hidden.__module__ = f"{OURS}.hidden"

    def verb(self: Any, hidden: dict[str, list[Hidden | None]]) -> None: ...

    verb.__annotations__ = {"hidden": dict[str, list[Hidden | None]], "return": None}
    assert Hidden in {part for hint in mentioned_by(verb) for part in parts_of(hint)}


def kinds_of(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds_of(kind)


@pytest.mark.parametrize("root", [MessagingError, HandlerSignal])
def test_everything_that_can_be_caught_is_at_the_front_door(root: type[BaseException]) -> None:
    of_the_tree = [kind for kind in kinds_of(root) if kind.__module__ == f"{OURS}.errors"]
    assert not [kind for kind in of_the_tree if kind not in SHOWN.values()]
