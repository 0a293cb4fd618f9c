"""Declarations, collected before a bus runs them, so that handler modules need not import the app's bus."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, Unpack

from typing_extensions import TypedDict

from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.policies import Batch, DeadLetterPolicy, Ordering, Retry, SubscriberOptions

Handler = Callable[..., Any]
F = TypeVar("F", bound=Handler)

Kind = Literal["event", "command"]
"""`event`: every group gets its own copy. `command`: one receiver in the whole fleet gets it."""


class Choices(TypedDict, total=False):
    """The keyword arguments of a subscriber; `policies.SubscriberOptions` says what each means."""

    group: str | None
    id: str | None
    concurrency: int | None
    ordering: Ordering
    retry: Retry | None
    dead_letter: DeadLetterPolicy
    timeout: float | None
    batch: Batch | None


@dataclass(frozen=True, slots=True)
class Declaration:
    """A handler and what it is for. Topics are as the user wrote them, without the prefix."""

    id: str
    kind: Kind
    topics: tuple[str, ...]
    handler: Handler
    options: SubscriberOptions


class Subscribers:
    """Handlers declared away from the bus; `bus.include(subscribers)` takes them in.

    subscribers = Subscribers()

    @subscribers.subscriber("user.created")
    async def send_welcome(event: UserCreated) -> None: ...
    """

    def __init__(self) -> None:
        self._declarations: dict[str, Declaration] = {}

    def __iter__(self) -> Iterator[Declaration]:
        return iter(tuple(self._declarations.values()))

    def subscriber(self, *topics: str, **choices: Unpack[Choices]) -> Callable[[F], F]:
        """Declare a handler of events; the function itself stays as it is."""
        return declaring("event", topics, choices, self.add)

    def receiver(self, queue: str, **choices: Unpack[Choices]) -> Callable[[F], F]:
        """Declare the handler of a queue; the function itself stays as it is."""
        return declaring("command", (queue,), choices, self.add)

    def add(self, declared: Declaration) -> Declaration:
        """Take in one declaration, and return it as it was taken.

        An id that was derived from the handler's name and is taken already gets a number; one
        that the user chose is refused. Raises `DeclarationError` for that and for a second
        receiver of one queue.
        """
        if declared.kind == "command":
            self._refuse_second_receiver(declared)
        taken = replace(declared, id=self._free_id(declared))
        self._declarations[taken.id] = taken
        return taken

    def get(self, id: str) -> Declaration | None:
        return self._declarations.get(id)

    def remove(self, id: str) -> Declaration | None:
        return self._declarations.pop(id, None)

    def _free_id(self, declared: Declaration) -> str:
        if declared.id not in self._declarations:
            return declared.id
        if declared.options.id is not None:
            raise DeclarationError(f"two subscribers have the id {declared.id!r}: each needs one of its own")
        numbers = itertools.count(2)
        return next(id for n in numbers if (id := f"{declared.id}#{n}") not in self._declarations)

    def _refuse_second_receiver(self, declared: Declaration) -> None:
        for other in self._declarations.values():
            if other.kind == "command" and other.topics == declared.topics:
                raise DeclarationError(
                    f"queue {declared.topics[0]!r} already has the receiver {other.id!r}: a command has one "
                    "receiver; use a subscriber where several handlers must see each message"
                )


def declaring(
    kind: Kind, topics: tuple[str, ...], choices: Choices, add: Callable[[Declaration], object]
) -> Callable[[F], F]:
    """A decorator that hands on a declaration of its function, and leaves the function as it is."""
    _check(topics)  # here: a decorator without parentheses takes the handler for a topic, and is never called
    options = SubscriberOptions(**choices)

    def declare(handler: F) -> F:
        add(declaration(kind, topics, handler, options))
        return handler

    return declare


def declaration(
    kind: Kind, topics: tuple[str, ...], handler: Handler, options: SubscriberOptions
) -> Declaration:
    """A checked declaration; its id is the handler's own name unless `options.id` says otherwise."""
    if not callable(handler):
        raise DeclarationError(f"a handler is a function of the message, not {handler!r}")
    _check(topics)
    return Declaration(options.id or _name(handler), kind, topics, handler, options)


def _check(topics: tuple[str, ...]) -> None:
    if not topics or not all(isinstance(topic, str) and topic for topic in topics):
        raise DeclarationError(
            "name at least one topic, each a non-empty string, as in `@bus.subscriber('user.created')`"
        )
    if len(set(topics)) != len(topics):
        raise DeclarationError(f"a topic is named twice in {topics!r}")


def _name(handler: Handler) -> str:
    qualified = getattr(handler, "__qualname__", type(handler).__qualname__)
    return f"{getattr(handler, '__module__', '?')}.{qualified}"
